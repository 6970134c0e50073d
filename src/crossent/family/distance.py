"""Losses that measure how far the prediction is from the truth, as vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossent.family.prediction import Array, Prediction
from crossent.family.protocol import FamilyLoss


@dataclass(frozen=True)
class Brier(FamilyLoss):
    """Σ (q_c − p_c)²: the Brier score of a label, between 0 and 2, and the squared distance from any distribution.

    References
    ----------
    G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950),
    equation 2.

    Examples
    --------
    >>> Brier().value([0.5, 0.25, 0.25], 0).item()
    0.375
    >>> Brier().ambient([0.5, 0.25, 0.25], 0).tolist()
    [-1.0, 0.5, 0.5]
    """

    @property
    def name(self) -> str:
        return "Brier"

    def value_of(self, q: Prediction, p: Array) -> Array:
        return np.asarray((q.minus(p) ** 2).sum(axis=-1))

    def ambient_of(self, q: Prediction, p: Array) -> Array:
        return 2.0 * q.minus(p)

    def hessian_of(self, q: Prediction, p: Array) -> Array:
        size = q.probs.shape[-1]
        return np.array(np.broadcast_to(2.0 * np.eye(size), (*q.probs.shape, size)))
