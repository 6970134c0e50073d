"""A tagger for words: the log-softmax was forgotten before nll_loss."""

import torch
import torch.nn.functional as F
from torch import nn


class Tagger(nn.Module):
    def __init__(self, vocabulary=50, tags=4):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, tags)

    def forward(self, words):
        hidden, _ = self.lstm(self.embedding(words))
        return self.out(hidden).view(-1, 4)


torch.manual_seed(5)
words = torch.randint(0, 50, (16, 9))
tags = words % 4
model = Tagger()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(8):
    model.zero_grad()
    scores = model(words)
    loss = F.nll_loss(scores, tags.view(-1))  # MISTAKE: probs-as-log-probs, error
    loss.backward()
    optimizer.step()
print("loss", loss.item())
