"""A linear head and its cross-entropy without the (N, C) logits: chunks of rows, tiles of classes, one budget."""
