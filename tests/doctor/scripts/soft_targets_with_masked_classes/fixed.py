"""Distillation where each sample rules a class out: the teacher gives it 0, the student's logit is -inf."""

import torch
from torch import nn

from crossent.torch import CrossEntropyLoss

torch.manual_seed(23)
x = torch.randn(40, 6)
impossible = nn.functional.one_hot(torch.arange(40) % 5, 5).bool()
teacher = torch.randn(40, 5).masked_fill(impossible, -torch.inf).softmax(dim=1)
student = nn.Linear(6, 5)
criterion = CrossEntropyLoss()
optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
for step in range(5):
    logits = student(x).masked_fill(impossible, -torch.inf)
    loss = criterion(logits, teacher)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
