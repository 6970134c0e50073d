"""Losses for PyTorch that keep their digits on confident rows."""

from crossent.torch.losses import CrossEntropyLoss, cross_entropy

__all__ = ["CrossEntropyLoss", "cross_entropy"]
