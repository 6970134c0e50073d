"""The model goes through torch.compile, its softmax too."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3), nn.Softmax(dim=1))
compiled = torch.compile(model, backend="aot_eager")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    x, y = torch.randn(30, 6), torch.arange(30) % 3
    loss = F.cross_entropy(compiled(x), y)  # MISTAKE: double-softmax, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("trained", loss.item())
