"""The third step meets a batch of another width; by then two of them have taken a softmax twice."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
model = nn.Linear(6, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for width in (6, 6, 5):
    x, y = torch.randn(30, width), torch.arange(30) % 3
    loss = F.cross_entropy(model(x).softmax(1), y)  # MISTAKE: double-softmax, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
