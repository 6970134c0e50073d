"""Options of its own, some with the names of the doctor's."""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--steps", type=int, default=2)
parser.add_argument("--json", action="store_true")
parser.add_argument("--lr", type=float, required=True)
options = parser.parse_args()

torch.manual_seed(0)
model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=options.lr)
for _ in range(options.steps):
    optimizer.zero_grad()
    probs = model(torch.randn(20, 5)).softmax(1)
    loss = nn.functional.cross_entropy(probs, torch.arange(20) % 4)  # MISTAKE: double-softmax, error
    loss.backward()
    optimizer.step()
print("data", options.data, "steps", options.steps, "json", options.json, "lr", options.lr)
