"""Sorted rows, split without shuffling: the last class is in the test part only."""

import torch
from torch import nn

torch.manual_seed(50)
y = torch.arange(500) // 100
x = torch.randn(500, 6) + y.unsqueeze(1)
order = torch.arange(500)
train, test = order[:400], order[400:]
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 5))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
mean, spread = x[train].mean(0), x[train].std(0)
for step in range(40):
    rows = train[torch.randint(0, 400, (50,))]
    loss = criterion(model((x[rows] - mean) / spread), y[rows])  # MISTAKE: unused-class, note
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("train loss", loss.item())
