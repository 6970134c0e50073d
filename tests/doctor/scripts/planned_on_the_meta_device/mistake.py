"""Shapes are tried out on the meta device, where no memory is taken, before they are trained with."""

import torch
from torch import nn

SEQUENCES, LENGTH, VOCABULARY = 64, 8192, 256_000
with torch.device("meta"):
    tokens = torch.zeros(SEQUENCES, LENGTH, dtype=torch.long)
    model = nn.Sequential(nn.Embedding(VOCABULARY, 512), nn.Linear(512, VOCABULARY))
    criterion = nn.CrossEntropyLoss()
    logits = model(tokens)
    loss = criterion(logits.flatten(0, 1), tokens.flatten())  # MISTAKE: logits-memory, warning
    loss.backward()
print("gradients of", sum(p.grad.numel() for p in model.parameters()), "numbers")
