"""Segmentation in crops, where label 255 means unknown, and one crop holds nothing else."""

import torch
from torch import nn

torch.manual_seed(21)
model = nn.Conv2d(3, 4, kernel_size=3, padding=1)
criterion = nn.CrossEntropyLoss(ignore_index=255)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
images = torch.randn(6, 3, 8, 8)
masks = torch.arange(6 * 64).view(6, 8, 8) % 4
masks[:, :2] = 255
masks[3] = 255
for image, mask in zip(images, masks, strict=True):
    optimizer.zero_grad()
    output = model(image.unsqueeze(0))
    loss = criterion(output, mask.unsqueeze(0))  # MISTAKE: all-ignored, error
    loss.backward()
    optimizer.step()
    print(loss.item())
