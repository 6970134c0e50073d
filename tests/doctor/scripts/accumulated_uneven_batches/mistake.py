"""The loader's last batch is smaller than the others, and an accumulated step ends with it."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(41)
dataset = TensorDataset(torch.randn(68, 6), torch.arange(68) % 4)
loader = DataLoader(dataset, batch_size=32)
model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    optimizer.zero_grad()
    for x, y in loader:
        loss = criterion(model(x), y) / len(loader)  # MISTAKE: accumulation-mean, error
        loss.backward()
    optimizer.step()
    print(epoch, loss.item())
