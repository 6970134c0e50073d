"""The file counts its classes from 1, PyTorch from 0."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(25)
raw_labels = torch.arange(60) % 3 + 1
dataset = TensorDataset(torch.randn(60, 5), raw_labels)
model = nn.Linear(5, 3)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in DataLoader(dataset, batch_size=20):
        loss = criterion(model(x), y)  # MISTAKE: label-out-of-range, error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
