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
    mixture = 0.5 * first(x).softmax(1) + 0.5 * second(x).softmax(1)
    log_probs = mixture.clamp_min(1e-6).log()  # MISTAKE: clipped-log, warning
    loss = F.nll_loss(log_probs, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
