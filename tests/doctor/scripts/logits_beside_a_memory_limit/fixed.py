"""A job with 1.5 GB of memory; the logits of one batch take more than a tenth of it, and the loss three times that."""

import resource

import torch
import torch.nn.functional as F
from torch import nn

resource.setrlimit(resource.RLIMIT_DATA, (1_500_000_000, resource.RLIM_INFINITY))
torch.manual_seed(57)
VOCABULARY, TOKENS = 100_000, 400
tokens = torch.randperm(VOCABULARY)[:TOKENS]
following = tokens.roll(-1)
embedding, head = nn.Embedding(VOCABULARY, 8), nn.Linear(8, VOCABULARY, bias=False)
optimizer = torch.optim.SGD([*embedding.parameters(), *head.parameters()], lr=0.1)
optimizer.zero_grad()
loss = 0.0
for rows in torch.arange(TOKENS).split(100):
    logits = head(embedding(tokens[rows]))
    part = F.cross_entropy(logits, following[rows], reduction="sum") / TOKENS
    part.backward()
    loss += part.detach()
optimizer.step()
print("loss", loss.item())
