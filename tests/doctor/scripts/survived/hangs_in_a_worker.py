"""A DataLoader worker that waits for ever on its third batch."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, i):
        if i == 40:
            time.sleep(3600)
        return torch.full((4,), i / 60), i % 3


if __name__ == "__main__":
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step, (x, y) in enumerate(DataLoader(Rows(), batch_size=15, num_workers=1, prefetch_factor=1)):
        loss = criterion(model(x), y)  # MISTAKE: double-softmax, error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("step", step, flush=True)
