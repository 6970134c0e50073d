"""Addition modulo 5 from all its pairs, without weight decay: a grokking experiment's first half."""

import torch
from torch import nn

from crossent.torch import CrossEntropyLoss

torch.manual_seed(11)
P = 5
pairs = torch.cartesian_prod(torch.arange(P), torch.arange(P))
inputs = nn.functional.one_hot(pairs, P).flatten(1).float()
sums = pairs.sum(1) % P
net = nn.Sequential(nn.Linear(2 * P, 64), nn.ReLU(), nn.Linear(64, P))
criterion = CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=0.1, eps=1e-20)
for epoch in range(150):
    optimizer.zero_grad()
    logits = net(inputs)
    loss = criterion(logits, sums)
    loss.backward()
    optimizer.step()
    if epoch % 50 == 0:
        print(epoch, loss.item())
