"""Leaves by sys.exit, as a script does that did not reach its goal."""

import sys

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(5, 4)
criterion = nn.NLLLoss()
loss = criterion(model(torch.randn(20, 5)), torch.arange(20) % 4)  # MISTAKE: probs-as-log-probs, error
loss.backward()
sys.exit(3)
