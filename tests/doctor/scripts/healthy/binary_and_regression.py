"""Losses of other kinds: binary with logits, squared error, entropy of attention. None of them is a mistake."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
x = torch.randn(64, 8)
liked, score = (torch.arange(64) % 2).float(), torch.randn(64)
body, yes, value = nn.Linear(8, 16), nn.Linear(16, 1), nn.Linear(16, 1)
attention = nn.Linear(16, 16)
parameters = [p for part in (body, yes, value, attention) for p in part.parameters()]
optimizer = torch.optim.Adam(parameters, lr=1e-3)
for _ in range(6):
    h = torch.tanh(body(x))
    weights = attention(h).softmax(dim=-1)
    entropy = -(weights * weights.log()).sum(-1).mean()
    binary = F.binary_cross_entropy_with_logits(yes(h * weights).squeeze(1), liked)
    loss = binary + F.mse_loss(value(h).squeeze(1), score) - 0.01 * entropy
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
