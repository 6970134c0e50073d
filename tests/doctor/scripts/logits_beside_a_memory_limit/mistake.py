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
logits = head(embedding(tokens))
loss = F.cross_entropy(logits, following)  # MISTAKE: logits-memory, warning
loss.backward()
optimizer.step()
print("loss", loss.item())
