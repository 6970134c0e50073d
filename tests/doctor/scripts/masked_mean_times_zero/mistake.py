"""The mask multiplies the losses after they are computed; a padded frame holds -inf, and 0 * inf is no number."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(24)
frames = torch.randn(6, 10, 4)
lengths = torch.tensor([10, 9, 8, 7, 10, 8])
mask = torch.arange(10) < lengths[:, None]
frames[~mask] = -torch.inf
phones = torch.arange(60).view(6, 10) % 5
acoustic = nn.Linear(4, 5)
optimizer = torch.optim.SGD(acoustic.parameters(), lr=0.1)
for step in range(3):
    logits = acoustic(frames)
    losses = F.cross_entropy(logits.transpose(1, 2), phones, reduction="none")  # MISTAKE: ignored-nan, error
    loss = (losses * mask).sum() / mask.sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
