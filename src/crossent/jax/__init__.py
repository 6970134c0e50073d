"""Losses for JAX that keep their digits on confident rows."""

from crossent.jax.losses import cross_entropy
from crossent.jax.optax_signatures import (
    safe_softmax_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)

__all__ = [
    "cross_entropy",
    "safe_softmax_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]
