"""Weights drawn from a standard normal distribution: the first loss is that of a confident, wrong model."""

import math

import torch
from torch import nn

torch.manual_seed(47)
y = torch.arange(200) % 10
x = torch.randn(200, 32)
body = nn.Sequential(nn.Linear(32, 64), nn.ReLU())
head = nn.Linear(64, 10)
nn.init.normal_(head.weight, std=0.01)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.01)
for step in range(10):
    logits = head(body(x))
    loss = criterion(logits, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: {loss.item():.3f}, log C = {math.log(10):.3f}")
