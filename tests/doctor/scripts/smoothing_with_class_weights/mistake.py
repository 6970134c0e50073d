"""Label smoothing and class weights together: each class's smoothed share has its own weight."""

import torch
from torch import nn

torch.manual_seed(45)
y = torch.arange(64) % 4
x = torch.randn(64, 7)
model = nn.Linear(7, 4)
criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, 10.0]), label_smoothing=0.1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for epoch in range(6):
    loss = criterion(model(x), y)  # MISTAKE: smoothing-convention, warning
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
