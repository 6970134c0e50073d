"""Images as bytes, cast to float and never scaled."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(48)
images = torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8)
digits = torch.arange(100) % 10
net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-5)
for epoch in range(3):
    x = images.float() / 255
    loss = F.cross_entropy(net(x), digits)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(epoch, loss.item())
