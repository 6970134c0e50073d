"""A small causal language model: attention with its own softmax and masks, padded sentences, ignored targets."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
VOCABULARY, LENGTH = 40, 12
lengths = torch.randint(4, LENGTH + 1, (32,))
tokens = torch.stack([torch.randperm(VOCABULARY - 1)[:LENGTH] + 1 for _ in lengths])
tokens[torch.arange(LENGTH) >= lengths[:, None]] = 0
embedding = nn.Embedding(VOCABULARY, 16, padding_idx=0)
layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
head = nn.Linear(16, VOCABULARY)
parameters = [*embedding.parameters(), *layer.parameters(), *head.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=1e-2)
mask = nn.Transformer.generate_square_subsequent_mask(LENGTH - 1)
for _ in range(5):
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    logits = head(layer(embedding(inputs), src_mask=mask, is_causal=True))
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
print(loss.item())
