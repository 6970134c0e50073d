"""Two losses per step: labels, and a teacher's softened probabilities through kl_div; evaluation in between."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
y = torch.arange(120) % 6
x = torch.randn(120, 10)
teacher = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 6)).eval()
student = nn.Linear(10, 6)
optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
for epoch in range(4):
    for rows in torch.randperm(90).split(30):
        with torch.no_grad():
            soft = F.softmax(teacher(x[rows]) / 2, dim=1)
        logits = student(x[rows])
        hard = F.cross_entropy(logits, y[rows])
        distilled = F.kl_div(F.log_softmax(logits / 2, dim=1), soft, reduction="batchmean") * 4
        optimizer.zero_grad()
        (0.5 * hard + 0.5 * distilled).backward()
        optimizer.step()
    with torch.no_grad():
        print(epoch, F.cross_entropy(student(x[90:]), y[90:]).item())
