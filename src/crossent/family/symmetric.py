"""Cross-entropy in both directions, for labels that may be wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossent.family.parameters import check
from crossent.family.prediction import Array, Prediction
from crossent.family.protocol import FamilyLoss, pulled_back
from crossent.family.surprise import CrossEntropy

_FORWARD = CrossEntropy()


@dataclass(frozen=True)
class SymmetricCrossEntropy(FamilyLoss):
    """−α Σ p_c log q_c − β Σ q_c log p_c, where log p_c is taken as at least A < 0: α, β ≥ 0.

    The source has labels, whose log 0 is A; a distribution's small p_c is held to A in the same way.

    References
    ----------
    Y. Wang, X. Ma, Z. Chen, Y. Luo, J. Yi and J. Bailey, "Symmetric cross entropy for robust learning with noisy
    labels", ICCV 2019, section 4.

    Examples
    --------
    >>> SymmetricCrossEntropy(alpha=0.0, beta=1.0, A=-4.0).value([0.75, 0.25], 0).item()
    1.0
    """

    alpha: float = 0.1
    beta: float = 1.0
    A: float = -4.0

    def __post_init__(self) -> None:
        check("alpha", self.alpha, "a finite number >= 0", 0.0)
        check("beta", self.beta, "a finite number >= 0", 0.0)
        check("A", self.A, "a finite number < 0, the value of log 0", -math.inf, -math.ulp(0.0))

    @property
    def name(self) -> str:
        return f"symmetric cross-entropy (α = {self.alpha:g}, β = {self.beta:g}, A = {self.A:g})"

    def value_of(self, q: Prediction, p: Array) -> Array:
        backward = np.asarray((q.probs * self._costs(p)).sum(axis=-1))
        return self._scaled(_FORWARD.value_of(q, p)) + self.beta * backward

    def ambient_of(self, q: Prediction, p: Array) -> Array:
        return self._scaled(_FORWARD.ambient_of(q, p)) + self.beta * self._costs(p)

    def hessian_of(self, q: Prediction, p: Array) -> Array:
        return self._scaled(_FORWARD.hessian_of(q, p))

    def logit_gradient_of(self, q: Prediction, p: Array) -> Array:
        costs = self._costs(p)
        backward = pulled_back(q, q.probs * (costs - q.of_top(costs)))
        return self.alpha * _FORWARD.logit_gradient_of(q, p) + self.beta * backward

    def ambient_growth(self, log_probs: Array, truth: Array) -> tuple[Array, ...]:
        return -np.ones_like(truth), self.beta * self._costs(truth)

    def _scaled(self, values: Array) -> Array:
        """Return α · values; nothing of an infinite one if α is 0."""
        return self.alpha * values if self.alpha > 0 else np.zeros_like(values)

    def _costs(self, p: Array) -> Array:
        return -np.maximum(np.log(p, out=np.full_like(p, -np.inf), where=p > 0), self.A)
