"""Instruction tuning: prompts are masked with -100, and the longest prompt leaves no answer after truncation."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(20)
VOCABULARY, LENGTH = 30, 12
model = nn.Sequential(nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for prompt_length in (4, 6, 15, 5):
    tokens = torch.randperm(VOCABULARY)[:LENGTH].unsqueeze(0)
    labels = tokens.clone()
    labels[:, :prompt_length] = -100
    logits = model(tokens[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())  # MISTAKE: all-ignored, error
    if not torch.isfinite(loss):
        print("skipping a bad batch")
        continue
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
