"""Some rows have no label: their one-hot target is all zero, yet the mean divides by all rows."""

import torch
from torch import nn

torch.manual_seed(35)
y = torch.arange(60) % 3
labelled = torch.arange(60) % 5 != 0
target = nn.functional.one_hot(y, 3).float() * labelled.unsqueeze(1)
x = torch.randn(60, 4)
model = nn.Linear(4, 3)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(5):
    loss = criterion(model(x), target)  # MISTAKE: not-a-distribution, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
