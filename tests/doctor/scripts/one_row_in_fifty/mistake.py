"""Ninety-eight of a hundred rows are class 0, and the head begins with a bias near 0 for each."""

import torch
from torch import nn

torch.manual_seed(51)
y = torch.zeros(1000, dtype=torch.long)
y[::100] = 1
y[50::100] = 2
x = torch.randn(1000, 10)
model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(10):
    loss = criterion(model(x), y)  # MISTAKE: imbalance, note
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
