"""Two data-parallel processes; each takes the mean of its own answers, and DDP the mean of the means."""

import os
import tempfile

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def train(rank, world_size, meeting_point):
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=world_size)
    torch.manual_seed(42)
    model = DistributedDataParallel(nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(2, 32, 8)[rank]
    y = torch.arange(32) % 4
    if rank == 1:
        y[8:] = -100
    for step in range(4):
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, y)  # MISTAKE: mean-over-ranks, error
        loss.backward()
        optimizer.step()
    if rank == 0:
        print("loss", loss.item())
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        meeting_point = os.path.join(folder, "meet")
        torch.multiprocessing.start_processes(train, args=(2, meeting_point), nprocs=2, start_method="fork")
