"""The whole model is bfloat16, the loss included: values on a grid of 1/64."""

import torch
from torch import nn

from crossent.torch import CrossEntropyLoss

torch.manual_seed(13)
torch.set_default_dtype(torch.bfloat16)
y = torch.arange(128) % 8
x = torch.randn(128, 16)
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
criterion = CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(10):
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
