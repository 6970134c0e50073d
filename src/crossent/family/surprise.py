"""Losses Σ p_c φ(q_c): each class of the truth is charged for its own probability alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crossent.family.prediction import Array, Prediction
from crossent.family.protocol import FamilyLoss, pulled_back


class Surprise(FamilyLoss):
    """Σ p_c φ(q_c) for a falling φ, given as φ, φ′, φ″ and the weight −t φ′(t), which stays finite at t = 0."""

    any_mass: ClassVar[bool] = True

    def phi(self, q: Prediction) -> Array:
        raise NotImplementedError

    def slope(self, q: Prediction) -> Array:
        raise NotImplementedError

    def bend(self, q: Prediction) -> Array:
        raise NotImplementedError

    def pull(self, q: Prediction) -> Array:
        raise NotImplementedError

    def value_of(self, q: Prediction, p: Array) -> Array:
        return np.asarray(charged(p, self.phi(q)).sum(axis=-1))

    def ambient_of(self, q: Prediction, p: Array) -> Array:
        return charged(p, self.slope(q))

    def hessian_of(self, q: Prediction, p: Array) -> Array:
        return diagonal(charged(p, self.bend(q)))

    def logit_gradient_of(self, q: Prediction, p: Array) -> Array:
        pulls = charged(p, self.pull(q))
        return pulled_back(q, q.probs * (q.of_top(pulls) / q.of_top(q.probs)) - pulls)


def charged(p: Array, charge: Array) -> Array:
    """Return p · charge, where a class without truth is charged nothing, whatever its probability."""
    with np.errstate(over="ignore"):
        return np.asarray(np.multiply(p, charge, out=np.zeros_like(charge), where=p > 0)) + 0.0


def diagonal(values: Array) -> Array:
    """Return a diagonal matrix per row."""
    out = np.zeros((*values.shape, values.shape[-1]))
    index = np.arange(values.shape[-1])
    out[..., index, index] = values
    return out


def power(q: Prediction, exponent: float) -> Array:
    """Return q_c to a power, by way of the logarithm where q_c itself is below float64's range."""
    if exponent == 0:
        return np.ones_like(q.probs)
    normal = q.probs >= np.finfo(np.float64).tiny
    with np.errstate(over="ignore"):
        return np.where(normal, np.where(normal, q.probs, 1.0) ** exponent, np.exp(exponent * q.log_probs))


@dataclass(frozen=True)
class CrossEntropy(Surprise):
    """−Σ p_c log q_c, in nats: a truth of any mass.

    References
    ----------
    I. J. Good, "Rational decisions", Journal of the Royal Statistical Society B 14 (1952), section 8.

    Examples
    --------
    >>> CrossEntropy().ambient([0.5, 0.49, 0.01], 0).tolist()
    [-2.0, 0.0, 0.0]
    >>> CrossEntropy().value([1.0, 1e-20], 0).item()
    1e-20
    """

    @property
    def name(self) -> str:
        return "cross-entropy"

    def phi(self, q: Prediction) -> Array:
        return 0.0 - q.log_probs

    def slope(self, q: Prediction) -> Array:
        return -power(q, -1.0)

    def bend(self, q: Prediction) -> Array:
        return power(q, -2.0)

    def pull(self, q: Prediction) -> Array:
        return np.ones_like(q.probs)

    def logit_gradient_of(self, q: Prediction, p: Array) -> Array:
        # P·q − p as it stands is the best where q is near p, and the likeliest class is minus the others.
        gradient = p.sum(axis=-1, keepdims=True) * q.probs - p
        return np.where(q.is_top & (q.probs > 0.5), -q.others(gradient), gradient)
