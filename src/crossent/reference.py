"""The executable specification: the loss and its gradient in float64 NumPy, written from the formulas.

With logits z, truth p (any mass P = Σ p_c), prediction q = softmax(z) and lse = log Σ exp(z_c)::

    loss = Σ_c p_c (lse - z_c)  +  row_weight · z_loss · lse²
    grad = P·q - p              +  row_weight · z_loss · 2·lse·q

Nothing here is tuned for speed or memory, and nothing is checked: arguments are taken as valid.
It is as accurate as the rest of the package promises to be: every subtraction is of given numbers and every
sum is of terms of one sign; what would cancel (1 - q_y, log q_y near 0) is computed from its complement.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


class LossGrad(NamedTuple):
    """The loss, and the derivative of its sum with respect to the logits."""

    loss: Any
    grad: Float64Array


class _Softmax(NamedTuple):
    """One row per leading index, a row's classes last."""

    gap: Float64Array  # lse - z_c, never negative
    probs: Float64Array
    lse: Float64Array


class _Truth(NamedTuple):
    probs: Float64Array  # p with every weight in it; zero for a row that takes no part
    row_weight: Float64Array  # what multiplies the row's z-loss
    kept: NDArray[np.bool_]
    denominator: float  # what reduction="mean" divides by


def _difference(z: Float64Array, m: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return z - m as a rounded difference and its exact remainder (Knuth's TwoSum)."""
    rounded = z - m
    back = rounded - z
    remainder = (z - (rounded - back)) - (m + back)
    return rounded, np.where(np.isfinite(rounded), remainder, 0.0)


def _exp_difference(z: Float64Array, m: Float64Array) -> Float64Array:
    """Return exp(z - m) without the error of |z - m| ulp that the rounding of z - m would bring."""
    rounded, remainder = _difference(z, m)
    return np.exp(rounded) * (1.0 + remainder)


def _exact_sum(x: Float64Array) -> Float64Array:
    """Return each row's sum, rounded once; an infinity or NaN in the row gives NaN."""
    rows = x.reshape(-1, x.shape[-1])
    sums = [math.fsum(row) if np.isfinite(row).all() else math.nan for row in rows]
    return np.reshape(np.array(sums, dtype=np.float64), (*x.shape[:-1], 1))


def _softmax_parts(z: Float64Array) -> _Softmax:
    """Relate every class to the largest, k: lse - z_c = z_k - z_c + log1p(Σ_{c≠k} exp(z_c - z_k))."""
    with np.errstate(all="ignore"):
        top = z.argmax(axis=-1, keepdims=True)
        largest = np.take_along_axis(z, top, axis=-1)
        others = z.copy()
        np.put_along_axis(others, top, -np.inf, axis=-1)
        second = others.max(axis=-1, keepdims=True)
        # Scaled by the second largest, the sum stays in range where each single term of s has left it.
        finite_second = np.where(second == -np.inf, 0.0, second)
        tail = _exact_sum(_exp_difference(others, finite_second))
        s = _exp_difference(second, largest) * tail
        # One +inf: the limit, all mass on it. Two, or every logit -inf: no limit, so NaN.
        s = np.where((second == np.inf) | (largest == -np.inf), np.nan, s)
        rounded, remainder = _difference(z, largest)
        np.put_along_axis(rounded, top, 0.0, axis=-1)
        gap = -rounded + (np.log1p(s) - remainder)
        odds = _exp_difference(others, largest)
        np.put_along_axis(odds, top, 1.0, axis=-1)
        return _Softmax(gap, odds / (1.0 + s), (largest + np.log1p(s))[..., 0])


def softmax(logits: ArrayLike, *, axis: int = -1) -> Float64Array:
    """Return exp(z_c - lse) along an axis, each entry to a few units in its last place.

    >>> softmax([0.0, 0.0])
    array([0.5, 0.5])
    """
    z = np.moveaxis(np.asarray(logits).astype(np.float64), axis, -1)
    return np.moveaxis(_softmax_parts(z).probs, -1, axis)


def log_softmax(logits: ArrayLike, *, axis: int = -1) -> Float64Array:
    """Return z_c - lse along an axis, each entry to a few units in its last place, also near 0.

    >>> float(log_softmax([40.0, 0.0])[0])
    -4.248354255291589e-18
    """
    z = np.moveaxis(np.asarray(logits).astype(np.float64), axis, -1)
    return np.moveaxis(-_softmax_parts(z).gap, -1, axis)


def _truth(
    target: NDArray[Any],
    classes: int,
    weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    label_smoothing: float,
    ignore_index: int,
) -> _Truth:
    """Turn labels or distributions, with all weights, into p_c = s · w_c · ((1 - ε) base_c + ε / C)."""
    class_weight = np.ones(classes) if weight is None else np.asarray(weight).astype(np.float64)
    labelled = target.dtype.kind in "iu"
    rows = target.shape if labelled else target.shape[:-1]
    s = np.ones(rows) if sample_weight is None else np.asarray(sample_weight).astype(np.float64)
    if labelled:
        kept = target != ignore_index
        label = np.where(kept, target, 0).astype(np.intp)
        base = (label[..., None] == np.arange(classes)).astype(np.float64)
        row_weight = np.where(kept, s * class_weight[label], 0.0)
    else:
        kept = np.ones(rows, dtype=bool)
        base = target.astype(np.float64)
        row_weight = s
    p = class_weight * ((1.0 - label_smoothing) * base + label_smoothing / classes)
    p = np.where(kept[..., None], s[..., None] * p, 0.0)
    # A row of weight 0 takes no part either: not even its NaN does.
    kept = kept & ((row_weight > 0.0) | p.any(axis=-1))
    return _Truth(p, row_weight, kept, float(row_weight.sum()))


def _row_grad(p: Float64Array, q: Float64Array) -> Float64Array:
    """Return P·q - p; an entry whose two terms hold most of the mass is minus the sum of the others."""
    mass = p.sum(axis=-1, keepdims=True)
    size = mass * q + p
    grad: Float64Array = mass * q - p
    top = size.argmax(axis=-1, keepdims=True)
    others = grad.copy()
    np.put_along_axis(others, top, 0.0, axis=-1)
    complement = -_exact_sum(others)
    direct = np.take_along_axis(grad, top, axis=-1)
    cancels = np.take_along_axis(size, top, axis=-1) >= mass
    np.put_along_axis(grad, top, np.where(cancels, complement, direct), axis=-1)
    return grad


def cross_entropy_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    normalizer: float | None = None,
    reduction: str = "mean",
    axis: int = -1,
) -> LossGrad:
    """Return the cross-entropy (nats) and the derivative of its sum with respect to the logits, in float64.

    Arguments are those of :func:`crossent.cross_entropy_and_grad`.

    >>> loss, grad = cross_entropy_and_grad([40.0, 0.0], 0)
    >>> float(loss), grad.tolist()
    (4.248354255291589e-18, [-4.248354255291589e-18, 4.248354255291589e-18])
    """
    z = np.moveaxis(np.asarray(logits).astype(np.float64), axis, -1)
    labels_or_probs = np.asarray(target)
    if labels_or_probs.dtype.kind not in "iu":
        labels_or_probs = np.moveaxis(labels_or_probs, axis, -1)
    truth = _truth(labels_or_probs, z.shape[-1], weight, sample_weight, label_smoothing, ignore_index)
    parts = _softmax_parts(z)
    p, q = truth.probs, parts.probs
    with np.errstate(invalid="ignore"):
        # A class without truth adds nothing, whatever its logit, unless the row has no softmax at all.
        loss = np.where((p == 0.0) & ~np.isnan(parts.gap), 0.0, p * parts.gap).sum(axis=-1)
        grad = _row_grad(p, q)
        if z_loss != 0.0:
            strength = truth.row_weight * z_loss
            loss += strength * parts.lse**2
            grad += np.where(q == 0.0, 0.0, (2.0 * strength * parts.lse)[..., None] * q)
    loss = np.where(truth.kept, loss, 0.0)
    grad = np.where(truth.kept[..., None], grad, 0.0)
    if reduction != "none":
        denominator = 1.0
        if reduction == "mean":
            denominator = truth.denominator if normalizer is None else float(normalizer)
        # Without any weight there is nothing to average: the loss is 0 and so is its gradient.
        loss, grad = (x / denominator if denominator > 0.0 else np.zeros_like(x) for x in (loss.sum(), grad))
    return LossGrad(loss, np.moveaxis(grad, -1, axis))


def cross_entropy(logits: ArrayLike, target: ArrayLike, **options: Any) -> Any:
    """Return the cross-entropy in nats, in float64; arguments are those of :func:`crossent.cross_entropy`.

    >>> float(cross_entropy([[1.0, 1.0], [0.0, 0.0]], [0, 1]))
    0.6931471805599453
    """
    return cross_entropy_and_grad(logits, target, **options).loss
