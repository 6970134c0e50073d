"""Rare classes weigh more. "mean" divides by the weights in the batch, so a batch of rare rows weighs no more than any."""

import torch
from torch import nn

torch.manual_seed(43)
y = torch.arange(96) % 4
x = torch.randn(96, 5)
weight = torch.tensor([1.0, 1.0, 4.0, 8.0])
model = nn.Linear(5, 4)
criterion = nn.CrossEntropyLoss(weight=weight)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for rows in torch.randperm(96).split(8):
        optimizer.zero_grad()
        loss = criterion(model(x[rows]), y[rows])  # MISTAKE: weighted-mean, warning
        loss.backward()
        optimizer.step()
print(loss.item())
