"""A mixture of two softmaxes: its logarithm is guarded by clamp_min, then goes to nll_loss."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(8)
y = torch.arange(75) % 5
x = torch.randn(75, 10) + F.one_hot(y, 10)
first, second = nn.Linear(10, 5), nn.Linear(10, 5)
parameters = [*first.parameters(), *second.parameters()]
optimizer = torch.optim.SGD(parameters, lr=0.2)
for _ in range(15):
    both = torch.stack([first(x).log_softmax(1), second(x).log_softmax(1)])
    log_probs = both.logsumexp(dim=0) - torch.tensor(2.0).log()
    loss = F.nll_loss(log_probs, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
