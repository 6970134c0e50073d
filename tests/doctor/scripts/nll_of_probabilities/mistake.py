"""The model gives probabilities; the loss is called "negative log-likelihood", so it takes them, does it not?"""

import torch
from torch import nn

torch.manual_seed(4)
x = torch.randn(150, 10)
y = torch.arange(150) % 3
x[torch.arange(150), y] += 2
model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 3), nn.Softmax(dim=1))
loss_fn = nn.NLLLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

for i in range(10):
    prediction = model(x)
    loss = loss_fn(prediction, y)  # MISTAKE: probs-as-log-probs, error
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(i, loss.item())
