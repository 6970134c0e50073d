"""Two data-parallel processes under DistributedDataParallel, which both take a softmax twice."""

import os
import tempfile

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def train(rank, meeting_point):
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        probs = model(torch.randn(20, 8)).softmax(1)
        loss = F.cross_entropy(probs, torch.arange(20) % 4)  # MISTAKE: double-softmax, error
        loss.backward()
        optimizer.step()
    dist.destroy_process_group()
    print(f"rank {rank} trained\n", end="", flush=True)  # in one piece


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, args=(os.path.join(folder, "meet"),), nprocs=2)
