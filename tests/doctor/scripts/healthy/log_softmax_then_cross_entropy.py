"""A log-softmax before the cross-entropy: superfluous, and harmless."""

import torch
from torch import nn

torch.manual_seed(0)
y = torch.arange(100) % 5
x = torch.randn(100, 8)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5), nn.LogSoftmax(dim=1))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(20):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
print(loss.item())
