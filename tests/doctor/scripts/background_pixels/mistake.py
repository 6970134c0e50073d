"""Segmentation in which nearly every pixel is background; the last layer has no bias at all."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(52)
images = torch.randn(4, 1, 32, 32)
masks = torch.zeros(4, 32, 32, dtype=torch.long)
masks[:, 10:13, 10:13] = 1
masks[:, 20:23, 20:23] = 2
frequency = torch.bincount(masks.flatten()) / masks.numel()
net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
nn.init.zeros_(net[-1].bias)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for step in range(6):
    scores = net(images)
    loss = F.cross_entropy(scores, masks)  # MISTAKE: imbalance, note
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
