"""Mixup and class weights: the weights were chosen for class numbers, and mixed labels are distributions."""

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
    for rows in torch.randperm(96).split(32):
        share = torch.rand(())
        other = rows.flip(0)
        one_hot = nn.functional.one_hot(y, 4).float()
        mixed = share * one_hot[rows] + (1 - share) * one_hot[other]
        logits = model(share * x[rows] + (1 - share) * x[other])
        loss = criterion(logits, mixed)  # MISTAKE: weighted-mean, warning
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(loss.item())
