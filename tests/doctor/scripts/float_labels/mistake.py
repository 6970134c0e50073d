"""Labels read with the features, from one table of floats."""

import torch
from torch import nn

torch.manual_seed(27)
table = torch.cat([torch.randn(90, 4), (torch.arange(90) % 3).float().unsqueeze(1)], dim=1)
x, y = table[:, :4], table[:, 4]
model = nn.Linear(4, 3)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(5):
    loss = criterion(model(x), y)  # MISTAKE: label-dtype, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
