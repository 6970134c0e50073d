"""The whole step is compiled and takes the softmax twice; three of six steps are looked at, the others compiled."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
model = nn.Linear(6, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
compilations = []


def counting(graph, inputs):
    compilations.append(graph)
    return graph.forward


@torch.compile(backend=counting)
def step(x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x).softmax(1), y)  # MISTAKE: double-softmax, error
    loss.backward()
    optimizer.step()
    return loss


for _ in range(6):
    loss = step(torch.randn(30, 6), torch.arange(30) % 3)
print("still compiled:", bool(compilations), "loss", loss.item())
