"""A tagger's logits and tags are flattened, with the padding (the last tag number) among them."""

import torch
from torch import nn

torch.manual_seed(54)
PAD = 6
lengths = torch.tensor([3, 9, 4, 5, 4, 6, 12, 5])
tags = torch.arange(8 * 12).view(8, 12) % 6
tags[torch.arange(12) >= lengths[:, None]] = PAD
words = torch.randn(8, 12, 10)
model = nn.Linear(10, 7)
criterion = nn.CrossEntropyLoss(ignore_index=PAD)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(6):
    optimizer.zero_grad()
    logits = model(words)
    loss = criterion(logits.view(-1, 7), tags.view(-1))
    loss.backward()
    optimizer.step()
print(loss.item())
