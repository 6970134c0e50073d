"""A data-parallel script as torchrun starts it, with ranks that keep different numbers of rows."""

import os
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = int(os.environ["RANK"])
torch.manual_seed(0)
model = DistributedDataParallel(nn.Linear(8, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
y = torch.arange(32) % 4
y[32 - 24 * rank :] = -100
for _ in range(3):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(torch.randn(32, 8)), y)  # MISTAKE: mean-over-ranks, error
    loss.backward()
    optimizer.step()
dist.destroy_process_group()
print(f"rank {rank} trained\n", end="", flush=True)
if "--fail" in sys.argv and rank == 1:
    sys.exit(3)
