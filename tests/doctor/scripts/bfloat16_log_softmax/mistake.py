"""Under autocast on a CPU a log-softmax of its own stays in bfloat16, although nll_loss is taken in float32."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(15)
y = torch.arange(120) % 6
x = torch.randn(120, 12)
model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 6))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(8):
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_probs = F.log_softmax(model(x), dim=1)
        loss = F.nll_loss(log_probs, y)  # MISTAKE: low-precision-loss, warning
    loss.backward()
    optimizer.step()
print("loss", loss.item())
