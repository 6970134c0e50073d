"""Unlabelled rows carry -1, which PyTorch does not know as "ignore"."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(26)
x = torch.randn(48, 7)
y = torch.arange(48) % 4
y[::6] = -1
model = nn.Sequential(nn.Linear(7, 12), nn.ReLU(), nn.Linear(12, 4))
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
for step in range(4):
    logits = model(x)
    loss = F.cross_entropy(logits, y, ignore_index=-1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
