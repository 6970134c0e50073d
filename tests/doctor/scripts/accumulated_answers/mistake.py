"""Four sequences, one at a time, then a step. Their answers differ in length, and each mean counts the same."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(40)
VOCABULARY, LENGTH, ACCUMULATE = 24, 24, 4
model = nn.Sequential(nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
tokens = torch.stack([torch.randperm(VOCABULARY) for _ in range(16)])
labels = tokens.clone()
for row, prompt in enumerate([2, 20, 12, 22] * 4):
    labels[row, :prompt] = -100

optimizer.zero_grad()
for i in range(16):
    logits = model(tokens[i])
    loss = F.cross_entropy(logits, labels[i])  # MISTAKE: accumulation-mean, error
    (loss / ACCUMULATE).backward()
    if (i + 1) % ACCUMULATE == 0:
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {(i + 1) // ACCUMULATE}: {loss.item():.4f}")
