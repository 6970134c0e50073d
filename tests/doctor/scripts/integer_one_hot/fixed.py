"""One-hot rows, as `one_hot` gives them: integers, which PyTorch takes for class numbers."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(28)
x = torch.randn(50, 8)
y = F.one_hot(torch.arange(50) % 5, num_classes=5).float()
model = nn.Linear(8, 5)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("done", loss.item())
