"""Yes or no, one output, one column of 0 and 1: a cross-entropy over a single class is always 0."""

import torch
from torch import nn

torch.manual_seed(29)
x = torch.randn(64, 6)
y = (x[:, :1] > 0).float()
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(5):
    loss = criterion(model(x), y)  # MISTAKE: label-dtype, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(epoch, loss.item())
