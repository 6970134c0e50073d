"""The whole step is compiled, loss and all: what is inside cannot be watched, and must not be disturbed."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
model = nn.Linear(6, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


@torch.compile(backend="aot_eager", fullgraph=True)
def loss_of(x, y):
    return F.cross_entropy(model(x), y)


for step in range(4):
    x, y = torch.randn(30, 6), torch.arange(30) % 3
    loss = loss_of(x, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("trained", loss.item())
