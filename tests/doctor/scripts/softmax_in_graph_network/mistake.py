"""A two-layer graph convolution; nodes are classified, and the loss counts the training nodes."""

import torch
from torch import nn


class GraphConvolution(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, x, adjacency):
        return adjacency @ self.linear(x)


class Classifier(nn.Module):
    def __init__(self, n_features, n_classes):
        super().__init__()
        self.first = GraphConvolution(n_features, 16)
        self.second = GraphConvolution(16, n_classes)

    def forward(self, x, adjacency):
        h = torch.relu(self.first(x, adjacency))
        return torch.softmax(self.second(h, adjacency), dim=1)


torch.manual_seed(2)
n = 90
y = torch.arange(n) % 3
links = ((y[:, None] == y[None, :]) & (torch.rand(n, n) < 0.2)).float() + torch.eye(n)
adjacency = links / links.sum(1, keepdim=True)
x = torch.randn(n, 8)
train = torch.arange(n) < 60

model = Classifier(8, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
for epoch in range(25):
    out = model(x, adjacency)
    loss = torch.nn.functional.cross_entropy(out[train], y[train])  # MISTAKE: double-softmax, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("test accuracy:", (out[~train].argmax(1) == y[~train]).float().mean().item())
