"""Policy-gradient style: the log-probability of what was chosen, made safe with an epsilon."""

import torch
from torch import nn

torch.manual_seed(7)
states = torch.randn(64, 8)
actions = torch.arange(64) % 4
policy = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
for update in range(12):
    probs = torch.softmax(policy(states), dim=-1)
    chosen = probs.gather(1, actions.unsqueeze(1)).squeeze(1)
    loss = -torch.log(chosen + 1e-8).mean()  # MISTAKE: clipped-log, warning
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("imitation loss", loss.item())
