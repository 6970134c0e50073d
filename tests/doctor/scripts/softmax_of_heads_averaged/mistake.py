"""Three heads vote: their probabilities are averaged, and a cross-entropy is taken of the average."""

import torch
from torch import nn


class Ensemble(nn.Module):
    def __init__(self, heads=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 24), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(24, 6) for _ in range(heads))

    def forward(self, x):
        h = self.body(x)
        return torch.stack([head(h).softmax(dim=-1) for head in self.heads]).mean(dim=0)


torch.manual_seed(3)
y = torch.arange(96) % 6
x = torch.randn(96, 12)
x[torch.arange(96), y] += 1.5
model = Ensemble()
criterion = nn.CrossEntropyLoss(reduction="sum")
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(15):
    optimizer.zero_grad()
    votes = model(x)
    loss = criterion(votes, y) / len(y)  # MISTAKE: double-softmax, error
    loss.backward()
    optimizer.step()
print(loss.item())
