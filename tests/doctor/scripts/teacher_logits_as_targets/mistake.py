"""Distillation: the teacher's logits are passed where its probabilities belong."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(34)
x = torch.randn(100, 12)
teacher = nn.Linear(12, 4).requires_grad_(False)
student = nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 4))
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
for step in range(8):
    with torch.no_grad():
        target = teacher(x)
    loss = F.cross_entropy(student(x), target)  # MISTAKE: not-a-distribution, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
