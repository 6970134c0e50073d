"""A translator's loss: smoothing, and padding ignored. Whether padding still counts in the mean is a convention."""

import torch
from torch import nn

torch.manual_seed(58)
PAD, WORDS = -100, 15
lengths = torch.tensor([6, 8, 5, 7, 8, 4, 6, 7] * 2)
targets = torch.stack([torch.randperm(WORDS)[:8] for _ in lengths])
targets[torch.arange(8) >= lengths[:, None]] = PAD
states = torch.randn(16, 8, 12)
head = nn.Linear(12, WORDS)
criterion = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=0.1)
optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
for step in range(5):
    logits = head(states)
    loss = criterion(logits.transpose(1, 2), targets)  # MISTAKE: smoothing-convention, note
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
