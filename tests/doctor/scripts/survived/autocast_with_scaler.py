"""Autocast and a gradient scaler, as mixed precision is written; the loss is taken in float32."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
model = nn.Linear(8, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu")
for step in range(4):
    x, y = torch.randn(40, 8), torch.arange(40) % 4
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x)
        loss = F.cross_entropy(logits.float().softmax(1), y)  # MISTAKE: double-softmax, error
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
print("trained", loss.item())
