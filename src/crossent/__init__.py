"""Cross-entropy, its gradient, and training with it."""
