"""The head without logits: a linear layer and its cross-entropy, a few rows at a time."""
