"""Mini-batches, accuracy from the probabilities, and the loss from them too."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 24)
        self.fc2 = nn.Linear(24, 5)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


torch.manual_seed(1)
labels = torch.arange(200) % 5
features = torch.randn(200, 20) + F.one_hot(labels, 20)
loader = DataLoader(TensorDataset(features, labels), batch_size=50, shuffle=True)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

for epoch in range(3):
    correct = 0
    for data, target in loader:
        optimizer.zero_grad()
        logits = net(data)
        probs = F.softmax(logits, dim=-1)
        correct += (probs.argmax(-1) == target).sum().item()
        loss = F.cross_entropy(logits, target)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: accuracy {correct / len(labels):.2f}")
