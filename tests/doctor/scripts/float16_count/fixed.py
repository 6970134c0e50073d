"""Every pixel is a row: 66,000 of them, and float16 counts to 65,504."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(14)
pixels = torch.randn(66_000, 3)
labels = torch.arange(66_000) % 3
head = nn.Linear(3, 3)
optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
for step in range(2):
    logits = head(pixels)
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
