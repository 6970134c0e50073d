"""Two hundred thousand lines on standard output, and some on standard error."""

import sys

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(5, 4)
probs = model(torch.randn(20, 5)).softmax(1)
loss = nn.functional.cross_entropy(probs, torch.arange(20) % 4)  # MISTAKE: double-softmax, error
loss.backward()
for line in range(200_000):
    print("line", line)
for line in range(1000):
    print("warning", line, file=sys.stderr)
