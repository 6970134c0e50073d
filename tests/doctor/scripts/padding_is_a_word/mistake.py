"""Sentences padded with 0 to one length; the model learns mostly to predict padding after padding."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

torch.manual_seed(53)
lengths = [5, 6, 4, 7, 24, 5, 6, 8] * 4
sentences = [torch.randperm(24)[:n] + 1 for n in lengths]
batch = pad_sequence(sentences, batch_first=True, padding_value=0)
model = nn.Sequential(nn.Embedding(25, 16), nn.Linear(16, 25))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for step in range(8):
    logits = model(batch[:, :-1])
    targets = batch[:, 1:]
    loss = F.cross_entropy(logits.transpose(1, 2), targets)  # MISTAKE: padding-counted, warning
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
