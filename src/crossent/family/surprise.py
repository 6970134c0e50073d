"""Losses Σ p_c φ(q_c): each class of the truth is charged for its own probability alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crossent.family.parameters import check
from crossent.family.prediction import Array, Prediction
from crossent.family.protocol import FamilyLoss, pulled_back
from crossent.family.series import ARTANH_RANGE, artanh_excess


class Surprise(FamilyLoss):
    """Σ p_c φ(q_c) for a falling φ, given as φ, φ′, φ″ and the weight −t φ′(t), which stays finite at t = 0."""

    any_mass: ClassVar[bool] = True

    @abstractmethod
    def phi(self, q: Prediction) -> Array: ...

    @abstractmethod
    def slope(self, q: Prediction) -> Array: ...

    @abstractmethod
    def bend(self, q: Prediction) -> Array: ...

    @abstractmethod
    def pull(self, q: Prediction) -> Array: ...

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


@dataclass(frozen=True)
class Focal(Surprise):
    """−Σ p_c (1 − q_c)^γ log q_c, which lets well-predicted rows go: γ ≥ 0, and γ = 0 is the cross-entropy.

    The source has labels; a distribution, of any mass, is charged class by class.

    References
    ----------
    T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, "Focal loss for dense object detection", ICCV 2017,
    section 3.2.

    Examples
    --------
    >>> Focal(2.0).value([0.5, 0.49, 0.01], 0).item()
    0.17328679513998632
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        check("gamma", self.gamma, "a finite number >= 0", 0.0)

    @property
    def name(self) -> str:
        return f"focal (γ = {self.gamma:g})"

    def phi(self, q: Prediction) -> Array:
        return np.asarray(q.rest**self.gamma * (0.0 - q.log_probs))

    def slope(self, q: Prediction) -> Array:
        return -(q.rest**self.gamma) * (self.gamma * _log_per_rest(q) + power(q, -1.0))

    def bend(self, q: Prediction) -> Array:
        gamma = self.gamma
        bend = q.rest**gamma * power(q, -2.0)
        if gamma > 0:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                bend += gamma * q.rest ** (gamma - 1) * ((gamma - 1) * _log_per_rest(q) + 2.0 * power(q, -1.0))
        return np.where(q.probs > 0, bend, np.inf)

    def pull(self, q: Prediction) -> Array:
        entropy = charged(q.probs, _log_per_rest(q))
        return np.asarray(q.rest**self.gamma * (1.0 + self.gamma * entropy))

    def ambient_growth(self, log_probs: Array, truth: Array) -> tuple[Array, ...]:
        # φ′(t) = −1/t + γ log t + γ + o(1)
        return -np.ones_like(truth), -self.gamma * truth, charged(truth, self.gamma * (1.0 + _log_share(truth)))

    def hessian_growth(self, truth: Array) -> tuple[Array, ...]:
        # φ″(t) = 1/t² + γ/t − γ(γ − 1) log t − 3γ(γ − 1)/2 + o(1)
        mass, gamma, slow = truth.sum(axis=-1, keepdims=True), self.gamma, self.gamma * (self.gamma - 1.0)
        fastest = mass**2 / np.maximum(truth, np.finfo(np.float64).tiny)
        finite = charged(truth, -slow * (1.5 + _log_share(truth)))
        return fastest, gamma * mass * np.ones_like(truth), slow * truth, finite


@dataclass(frozen=True)
class GeneralizedCrossEntropy(Surprise):
    """Σ p_c (1 − q_c^κ)/κ with κ = ``q`` in (0, 1]: the cross-entropy as κ → 0, half the absolute error at κ = 1.

    The source has labels; a distribution, of any mass, is charged class by class.

    References
    ----------
    Z. Zhang and M. R. Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels",
    NeurIPS 2018, section 3.

    Examples
    --------
    >>> GeneralizedCrossEntropy(0.5).value([0.25, 0.75], 0).item()
    1.0
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        check("q", self.q, "a number in (0, 1]", 0.0, 1.0, above=True)

    @property
    def name(self) -> str:
        return f"generalised cross-entropy (q = {self.q:g})"

    def phi(self, q: Prediction) -> Array:
        return np.asarray(-np.expm1(self.q * q.log_probs) / self.q)

    def slope(self, q: Prediction) -> Array:
        return -power(q, self.q - 1.0)

    def bend(self, q: Prediction) -> Array:
        if self.q == 1.0:
            return np.zeros_like(q.probs)
        return (1.0 - self.q) * power(q, self.q - 2.0)

    def pull(self, q: Prediction) -> Array:
        return power(q, self.q)


@dataclass(frozen=True)
class Poly1(Surprise):
    """Σ p_c (−log q_c + ε (1 − q_c)), the cross-entropy with the first term of its series changed: ε ≥ −1.

    The source has labels; a distribution, of any mass, is charged class by class.

    References
    ----------
    Z. Leng, M. Tan, C. Liu, E. D. Cubuk, X. Shi, S. Cheng and D. Anguelov, "PolyLoss: a polynomial expansion
    perspective of classification loss functions", ICLR 2022, section 4.

    Examples
    --------
    >>> Poly1(1.0).value([0.5, 0.5], 0).item()
    1.1931471805599454
    """

    epsilon: float = 1.0

    def __post_init__(self) -> None:
        check("epsilon", self.epsilon, "a finite number >= -1 (the loss must fall as q_y rises)", -1.0)

    @property
    def name(self) -> str:
        return f"poly-1 (ε = {self.epsilon:g})"

    def phi(self, q: Prediction) -> Array:
        return (1.0 + self.epsilon) * q.rest + _log_excess(q)

    def slope(self, q: Prediction) -> Array:
        return -(power(q, -1.0) + self.epsilon)

    def bend(self, q: Prediction) -> Array:
        return power(q, -2.0)

    def pull(self, q: Prediction) -> Array:
        # At ε = −1 it is 1 − q_c, which must not be formed from q_c near 1.
        if self.epsilon < 0:
            return (1.0 + self.epsilon) - self.epsilon * q.rest
        return 1.0 + self.epsilon * q.probs

    def ambient_growth(self, log_probs: Array, truth: Array) -> tuple[Array, ...]:
        return -np.ones_like(truth), -self.epsilon * truth


def _log_share(p: Array) -> Array:
    """Return log(p_c/Σp), 0 where p_c = 0."""
    return np.asarray(np.log(p / p.sum(axis=-1, keepdims=True), out=np.zeros_like(p), where=p > 0))


def _log_per_rest(q: Prediction) -> Array:
    """Return −log(q_c)/(1 − q_c), which is 1 at q_c = 1."""
    out = np.ones_like(q.probs)
    return np.asarray(np.divide(-q.log_probs, q.rest, out=out, where=q.rest > 0))


def _log_excess(q: Prediction) -> Array:
    """Return −log(q_c) − (1 − q_c), which is (1 − q_c)²/2 and more, also for confident rows."""
    half = q.rest / (2.0 - q.rest)  # −log q = 2 artanh(half)
    small = half <= ARTANH_RANGE
    near = 2.0 * artanh_excess(np.where(small, half, 0.0)) + q.rest * half
    return np.where(small, near, (0.0 - q.log_probs) - q.rest)
