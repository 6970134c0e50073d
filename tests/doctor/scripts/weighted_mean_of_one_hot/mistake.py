"""Class weights with one-hot targets: "mean" divides by the number of rows here, by the weights for class numbers."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(44)
y = torch.arange(80) % 4
target = F.one_hot(y, 4).float()
x = torch.randn(80, 6)
class_weights = torch.tensor([0.2, 0.5, 2.0, 6.0])
model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(8):
    output = model(x)
    loss = F.cross_entropy(output, target, weight=class_weights)  # MISTAKE: weighted-mean, warning
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
