"""An image classifier whose last layer is a softmax."""

import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(120, 16)
y = torch.arange(120) % 4
x[torch.arange(120), y] += 2

model = nn.Sequential(
    nn.Linear(16, 32),
    nn.ReLU(),
    nn.Linear(32, 4),
    nn.Softmax(dim=1),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for epoch in range(20):
    optimizer.zero_grad()
    loss = criterion(model(x), y)  # MISTAKE: double-softmax, error
    loss.backward()
    optimizer.step()
    if epoch % 5 == 0:
        print(f"epoch {epoch}: loss {loss.item():.4f}")
