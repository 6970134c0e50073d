"""Mixed precision on a CPU: the loss is taken after autocast has ended, of logits that are still bfloat16."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(12)
y = torch.arange(256) % 16
x = torch.randn(256, 32)
x[torch.arange(256), y] += 2
model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 16))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(15):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x)
    loss = F.cross_entropy(logits, y)  # MISTAKE: low-precision-loss, warning
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
