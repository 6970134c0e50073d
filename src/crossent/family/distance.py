"""Losses that measure how far the prediction is from the truth, as vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crossent.family.prediction import Array, Prediction
from crossent.family.protocol import FamilyLoss, pulled_back


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


@dataclass(frozen=True)
class Spherical(FamilyLoss):
    """Σ p_c (1 − q_c/‖q‖): one minus the spherical score of a label, averaged over a truth of any mass.

    References
    ----------
    T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation", Journal of the American
    Statistical Association 102 (2007), section 4.1, example 2, with α = 2.

    Examples
    --------
    >>> Spherical().value([0.5, 0.5], 0).round(4).item()
    0.2929
    """

    any_mass: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "spherical"

    def value_of(self, q: Prediction, p: Array) -> Array:
        squares = q.probs**2
        norm = np.sqrt(squares.sum(axis=-1, keepdims=True))
        left = np.where(q.is_top, q.others(squares), norm**2 - squares)  # ‖q‖² − q_c²
        return np.asarray((p * left / (norm * (norm + q.probs))).sum(axis=-1))

    def ambient_of(self, q: Prediction, p: Array) -> Array:
        squares = (q.probs**2).sum(axis=-1, keepdims=True)
        along = (p * q.probs).sum(axis=-1, keepdims=True)
        # For the likeliest class the terms of p_c ‖q‖² − q_c ⟨p, q⟩ with its own square cancel: they are left out.
        across = q.of_top(p) * q.others(q.probs**2) - q.of_top(q.probs) * q.others(p * q.probs)
        return np.asarray(-np.where(q.is_top, across, p * squares - q.probs * along) / squares**1.5)

    def hessian_of(self, q: Prediction, p: Array) -> Array:
        squares = (q.probs**2).sum(axis=-1)[..., None, None]
        along = (p * q.probs).sum(axis=-1)[..., None, None]
        cross = p[..., :, None] * q.probs[..., None, :]
        outer = q.probs[..., :, None] * q.probs[..., None, :]
        both = cross + np.swapaxes(cross, -1, -2) + along * np.eye(q.probs.shape[-1])
        return np.asarray((both - 3.0 * along / squares * outer) / squares**1.5)

    def logit_gradient_of(self, q: Prediction, p: Array) -> Array:
        # The loss does not change along q, ⟨q, a⟩ = 0: nothing is left to subtract.
        return np.asarray(q.probs * self.ambient_of(q, p)) + 0.0


@dataclass(frozen=True)
class RankedProbabilityScore(FamilyLoss):
    """Σ_k (F_k − G_k)² over k < C, with F and G the cumulated prediction and truth: for classes that are in order.

    Not divided by C − 1. The truth is a label or a distribution.

    References
    ----------
    A. H. Murphy, "A note on the ranked probability score", Journal of Applied Meteorology 10 (1971), equation 2.

    Examples
    --------
    >>> RankedProbabilityScore().value([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0, 0]).tolist()
    [1.0, 2.0]
    """

    @property
    def name(self) -> str:
        return "ranked probability score"

    def value_of(self, q: Prediction, p: Array) -> Array:
        return np.asarray((_gaps(q, p) ** 2).sum(axis=-1))

    def ambient_of(self, q: Prediction, p: Array) -> Array:
        return 2.0 * _from_here(_gaps(q, p))

    def hessian_of(self, q: Prediction, p: Array) -> Array:
        size = q.probs.shape[-1]
        index = np.arange(size)
        kernel = 2.0 * (size - 1 - np.maximum(index[:, None], index))
        return np.array(np.broadcast_to(kernel, (*q.probs.shape, size)))

    def logit_gradient_of(self, q: Prediction, p: Array) -> Array:
        # a_c − a_k, with k the likeliest class, is the sum of the gaps between c and k alone.
        gaps, below = _gaps(q, p), _below_top(q)
        above = np.where(below, 0.0, gaps)
        between = _from_here(np.where(below, gaps, 0.0)) - (np.cumsum(above, axis=-1) - above)
        return pulled_back(q, 2.0 * q.probs * between)


def _gaps(q: Prediction, p: Array) -> Array:
    """Return F_k − G_k, and 0 for the last, summed from the side without the likeliest class, which may be near 1."""
    d = q.minus(p)
    after = np.zeros_like(d)
    after[..., :-1] = _from_here(d)[..., 1:]
    gaps = np.where(_below_top(q), np.cumsum(d, axis=-1), -after)
    gaps[..., -1] = 0.0
    return gaps


def _below_top(q: Prediction) -> NDArray[np.bool_]:
    return np.asarray(np.cumsum(q.is_top, axis=-1) == 0)


def _from_here(values: Array) -> Array:
    """Return each entry's sum of itself and all that follow."""
    return np.asarray(np.cumsum(values[..., ::-1], axis=-1)[..., ::-1])
