"""Divergences of the truth, a distribution, from the prediction, in nats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossent.family.prediction import Array, Prediction
from crossent.family.protocol import FamilyLoss, pulled_back
from crossent.family.series import artanh_excess
from crossent.family.surprise import charged, diagonal, power


@dataclass(frozen=True)
class ReverseKL(FamilyLoss):
    """KL(q‖p) = Σ q_c log(q_c/p_c), in nats: infinite where the prediction has mass that the truth excludes.

    The truth is a distribution. For a label every prediction but the label itself costs inf: smooth the label first.

    Notes
    -----
    Classes that are predicted and excluded (q_c > 0 = p_c) are taken as the limit of equally small truths: their
    logit gradient is inf and that of the others −inf; where every predicted class is excluded it is finite.

    References
    ----------
    S. Kullback and R. A. Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22 (1951),
    section 2.

    Examples
    --------
    >>> ReverseKL().value([0.5, 0.5], [0.9, 0.1]).round(4).item()
    0.5108
    """

    @property
    def name(self) -> str:
        return "reverse KL"

    def value_of(self, q: Prediction, p: Array) -> Array:
        # q log(q/p) − q + p is never negative, and (1 + y) log1p(y) − y per unit of p, with y = (q − p)/p.
        d = q.minus(p)
        y = _ratio(d, p, math.inf)
        with np.errstate(invalid="ignore"):
            closed = charged(q.probs, _log_ratio(q, p)) - d
        terms = np.where(np.abs(y) < 0.2, p * _excess(np.clip(y, -0.2, 0.2)), closed)
        return np.asarray(np.where(_excluded(q, p), np.inf, terms).sum(axis=-1))

    def ambient_of(self, q: Prediction, p: Array) -> Array:
        # Where neither has mass, the first that the prediction takes costs inf.
        return np.where(p > 0, _log_ratio(q, p), np.inf) + 1.0

    def hessian_of(self, q: Prediction, p: Array) -> Array:
        return diagonal(power(q, -1.0))

    def logit_gradient_of(self, q: Prediction, p: Array) -> Array:
        excluded = _excluded(q, p)
        beyond = excluded.any(axis=-1, keepdims=True)
        everywhere = np.logical_or(excluded, np.isneginf(q.log_probs)).all(axis=-1, keepdims=True)
        logs = np.where(everywhere, q.log_probs, np.where(beyond, 0.0, _log_ratio(q, p)))
        finite = pulled_back(q, charged(q.probs, logs - q.of_top(logs)))
        infinite = np.where(excluded, np.inf, np.where(np.isneginf(q.log_probs), 0.0, -np.inf))
        return np.where(beyond & ~everywhere, infinite, finite)

    def ambient_growth(self, log_probs: Array, truth: Array) -> tuple[Array, ...]:
        # −log p_c of equally small truths first; then log q_c, as each q_c = 0 rises.
        absent = np.isneginf(log_probs)
        return np.where(truth > 0, 0.0, 1.0), np.where(absent, -1.0, 0.0), np.where(absent, 0.0, log_probs) + 1.0


@dataclass(frozen=True)
class JensenShannon(FamilyLoss):
    """½ KL(p‖m) + ½ KL(q‖m) with m = (p + q)/2, in nats: symmetric, and at most log 2. The truth is a distribution.

    References
    ----------
    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37 (1991),
    section IV, with weights 1/2.

    Examples
    --------
    >>> JensenShannon().value([0.0, 1.0], 0).item()
    0.6931471805599453
    """

    @property
    def name(self) -> str:
        return "Jensen-Shannon"

    def value_of(self, q: Prediction, p: Array) -> Array:
        # Per unit of m: ½((1 + x) log(1 + x) + (1 − x) log(1 − x)), x = (q − p)/(q + p), as two terms that add.
        total = q.probs + p
        x = _ratio(q.minus(p), total, 0.0)
        near = np.clip(x, -0.5, 0.5)
        close = 0.25 * total * (np.log1p(-near * near) + 2.0 * near * np.arctanh(near))
        log_m = _log(0.5 * total)
        with np.errstate(invalid="ignore"):
            far = 0.5 * (charged(p, _log(p) - log_m) + charged(q.probs, q.log_probs - log_m))
        return np.asarray(np.where(np.abs(x) <= 0.5, close, far).sum(axis=-1))

    def ambient_of(self, q: Prediction, p: Array) -> Array:
        total = q.probs + p
        x = _ratio(q.minus(p), total, 1.0)
        with np.errstate(invalid="ignore"):
            far = q.log_probs - _log(0.5 * total)
        return 0.5 * np.where(x > -0.5, np.log1p(np.maximum(x, -0.5)), far)

    def hessian_of(self, q: Prediction, p: Array) -> Array:
        with np.errstate(divide="ignore", over="ignore"):
            return diagonal(charged(_ratio(p, q.probs + p, 0.0), 0.5 / q.probs))

    def hessian_growth(self, truth: Array) -> tuple[Array, ...]:
        # p/(2t(p + t)) = 1/(2t) − 1/(2p) + o(1)
        half = 0.5 / np.maximum(truth / truth.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
        return half, -half


def _excluded(q: Prediction, p: Array) -> NDArray[np.bool_]:
    return np.asarray((p == 0) & ~np.isneginf(q.log_probs))


def _log(values: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values))


def _log_ratio(q: Prediction, p: Array) -> Array:
    """Return log(q/p), also where q is near p; NaN where p is 0 with q."""
    y = _ratio(q.minus(p), p, math.inf)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(y) < 0.5, np.log1p(np.clip(y, -0.5, 0.5)), q.log_probs - _log(p))


def _ratio(numerator: Array, denominator: Array, otherwise: float) -> Array:
    out = np.full_like(numerator, otherwise)
    with np.errstate(over="ignore"):
        return np.asarray(np.divide(numerator, denominator, out=out, where=denominator > 0))


def _excess(y: Array) -> Array:
    """Return (1 + y) log1p(y) − y for |y| ≤ 0.2, to a few units in its last place."""
    # With z = y/(2 + y): log1p(y) = 2 artanh(z) and y = 2z/(1 − z).
    z = y / (2.0 + y)
    return np.asarray(2.0 * (artanh_excess(z) + z * np.arctanh(z)) / (1.0 - z))
