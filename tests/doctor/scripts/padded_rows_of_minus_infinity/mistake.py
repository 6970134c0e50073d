"""Scores of candidates, with -inf for those that do not exist. Padding has none at all, and is ignored."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(22)
candidates = torch.randn(8, 5, 6)
bias = torch.zeros(8, 5)
bias[:, 4] = -torch.inf
bias[6:] = -torch.inf
labels = torch.arange(8) % 4
labels[6:] = -100
scorer = nn.Linear(6, 1)
optimizer = torch.optim.SGD(scorer.parameters(), lr=0.1)
for step in range(3):
    scores = scorer(candidates).squeeze(-1) + bias
    loss = F.cross_entropy(scores, labels)  # MISTAKE: ignored-nan, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
