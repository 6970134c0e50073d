"""A language model's logits are (batch, tokens, classes); the loss wants the classes second."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(30)
tokens = torch.arange(4 * 8).view(4, 8) % 20
following = (tokens + 1) % 20
model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 20))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for step in range(5):
    logits = model(tokens)
    loss = F.cross_entropy(logits, following)  # MISTAKE: shape-swapped, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
