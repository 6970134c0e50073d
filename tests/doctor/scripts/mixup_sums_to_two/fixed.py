"""Mixup whose second label is added in full."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(32)
x = torch.randn(64, 10)
y = F.one_hot(torch.arange(64) % 4, 4).float()
model = nn.Linear(10, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(6):
    order = torch.randperm(64)
    mixed_x = 0.7 * x + 0.3 * x[order]
    mixed_y = 0.7 * y + 0.3 * y[order]
    loss = F.cross_entropy(model(mixed_x), mixed_y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
