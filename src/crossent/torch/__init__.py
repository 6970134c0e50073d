"""Losses for PyTorch that keep their digits on confident rows."""

from crossent.torch.doctor import doctor
from crossent.torch.family import (
    focal_loss,
    generalized_cross_entropy,
    label_relaxed_loss,
    logit_adjusted_loss,
    poly1_loss,
    symmetric_cross_entropy,
)
from crossent.torch.fenchel_young import entmax15, fenchel_young_loss, sparsemax
from crossent.torch.linear.curvature import gauss_newton_product
from crossent.torch.linear.head import linear_cross_entropy
from crossent.torch.linear.module import LinearCrossEntropyLoss
from crossent.torch.linear.sgd import FusedHeadSGD
from crossent.torch.losses import CrossEntropyLoss, cross_entropy
from crossent.torch.probabilities import cross_entropy_from_log_probs, cross_entropy_from_probs

__all__ = [
    "CrossEntropyLoss",
    "FusedHeadSGD",
    "LinearCrossEntropyLoss",
    "cross_entropy",
    "cross_entropy_from_log_probs",
    "cross_entropy_from_probs",
    "doctor",
    "entmax15",
    "fenchel_young_loss",
    "focal_loss",
    "gauss_newton_product",
    "generalized_cross_entropy",
    "label_relaxed_loss",
    "linear_cross_entropy",
    "logit_adjusted_loss",
    "poly1_loss",
    "sparsemax",
    "symmetric_cross_entropy",
]
