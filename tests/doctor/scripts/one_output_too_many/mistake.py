"""Labels were counted from 1 once; the output for class 0 is still there, and no row ever has it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(49)
labels = torch.arange(400) % 7 + 1
loader = DataLoader(TensorDataset(torch.randn(400, 9), labels), batch_size=40, shuffle=True)
model = nn.Linear(9, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)  # MISTAKE: unused-class, note
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(loss.item())
