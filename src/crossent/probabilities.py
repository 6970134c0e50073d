"""Cross-entropy, entropy and Kullback-Leibler divergence of probabilities that are given as such."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossent import arrays
from crossent.arrays import Array
from crossent.errors import invalid_choice
from crossent.loss import REDUCTIONS, class_axis, divisor
from crossent.targets import IGNORE_INDEX, Truth, truth_of


def cross_entropy_from_probs(
    probs: object,
    target: object,
    *,
    weight: object = None,
    sample_weight: object = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    normalizer: float | None = None,
    reduction: str = "mean",
    axis: int = -1,
) -> Any:
    r"""Return the cross-entropy :math:`-\sum_c p_c \log q_c` of given probabilities q, in nats, without clipping.

    Parameters
    ----------
    probs : array of shape (C,), (N, C) or (N, C, d1, …), float16, bfloat16, float32 or float64
        Predicted probabilities, in [0, 1], used as they are: nothing is clipped or normalised. A row that does not sum
        to 1 is refused beyond what rounding explains.
    target, weight, sample_weight, label_smoothing, ignore_index, normalizer, reduction, axis
        As for :func:`crossent.cross_entropy`.

    Returns
    -------
    scalar of the dtype of ``probs``, or array of the rows' shape with ``reduction="none"``
        A truth on a class of probability 0 costs inf; a class without truth costs exactly 0 whatever its probability.

    Raises
    ------
    TypeError, ValueError
        As for :func:`crossent.cross_entropy`; and for a probability outside [0, 1] or a row that does not sum to 1.

    Examples
    --------
    >>> from crossent import cross_entropy_from_probs
    >>> cross_entropy_from_probs([[0.5, 0.49, 0.01]], [0])
    np.float64(0.6931471805599453)
    """
    q = arrays.floating("probs", probs)
    axis = class_axis(q.shape, axis, "probs")
    if reduction not in REDUCTIONS:
        raise invalid_choice("reduction", reduction, REDUCTIONS)
    truth = truth_of(
        target,
        q.shape,
        axis,
        q,
        weight=weight,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        name="probs",
    )
    scale = 1 / divisor(truth, normalizer, reduction)
    rows = arrays.as_rows(q, axis).astype(np.float64)
    kept = _kept(truth, rows.shape[0])
    _check_distributions("probs", rows, q.dtype, kept)
    losses = np.zeros(rows.shape[0])
    if truth.is_label:
        assert truth.labels is not None
        index = np.flatnonzero(kept)
        losses[index] = _surprise(rows[index, truth.labels[index]])
    else:
        p = dense_truth(truth, rows.shape)
        losses[kept] = _weighted(p[kept], _surprise(rows[kept])).sum(axis=-1)
    if truth.row_weight is not None:
        losses[kept] *= truth.row_weight[kept]
    with np.errstate(over="ignore"):
        if reduction == "none":
            return losses.reshape(q.shape[:axis] + q.shape[axis + 1 :]).astype(q.dtype)[()]
        return q.dtype.type(losses.sum() * scale)


def entropy(probs: object, *, axis: int = -1) -> Any:
    r"""Return the entropy :math:`-\sum_c p_c \log p_c` of each distribution, in nats; a term with p = 0 is 0.

    Parameters
    ----------
    probs : floating array with a distribution along ``axis``

    Returns
    -------
    scalar or array of the shape without that axis, in the dtype of ``probs``

    Raises
    ------
    TypeError, ValueError
        For an entry outside [0, 1] or a distribution that does not sum to 1.

    Examples
    --------
    >>> from crossent import entropy
    >>> entropy([[0.5, 0.5], [1.0, 0.0]])
    array([0.69314718, 0.        ])
    """
    p, rows, shape = _distribution_rows("probs", probs, axis)
    return _weighted(rows, _surprise(rows)).sum(axis=-1).reshape(shape).astype(p.dtype)[()]


def kl_divergence(p: object, q: object, *, axis: int = -1) -> Any:
    r"""Return the Kullback-Leibler divergence :math:`\sum_c p_c \log(p_c / q_c)` of q from p, in nats.

    Formed from the terms :math:`p \log(p/q) - p + q`, none of which is negative, so that nothing cancels when q is
    close to p.

    Parameters
    ----------
    p, q : floating arrays of one shape, with a distribution along ``axis``

    Returns
    -------
    scalar or array of the shape without that axis, in the wider of the two dtypes
        inf where p has mass on a class that q excludes.

    Raises
    ------
    TypeError, ValueError
        For different shapes, an entry outside [0, 1] or a distribution that does not sum to 1.

    Examples
    --------
    >>> from crossent import kl_divergence
    >>> kl_divergence([0.5, 0.5], [0.5 + 2**-30, 0.5 - 2**-30])
    np.float64(1.734723475976807e-18)
    """
    p_array, p_rows, shape = _distribution_rows("p", p, axis)
    q_array, q_rows, _ = _distribution_rows("q", q, axis)
    if p_array.shape != q_array.shape:
        raise ValueError(f"q has shape {q_array.shape}: expected {p_array.shape}, the shape of p")
    terms = _divergence_terms(p_rows, q_rows)
    # The masses differ by rounding at most: what that adds belongs to the value for the numbers as they are given.
    total = terms.sum(axis=-1) + _difference_of_masses(p_rows, q_rows)
    dtype = max(p_array.dtype, q_array.dtype, key=lambda dtype: dtype.itemsize)
    return total.reshape(shape).astype(dtype)[()]


def dense_truth(truth: Truth, shape: tuple[int, int]) -> Array:
    """Return the truth as distributions in float64, (n, C), smoothing and class weights included."""
    classes = shape[1]
    if truth.probs is not None:
        p = truth.probs.astype(np.float64)
    else:
        assert truth.labels is not None
        p = np.zeros(shape)
        kept = np.flatnonzero(truth.labels >= 0)
        p[kept, truth.labels[kept]] = 1
    if truth.smoothing:
        p = (1 - truth.smoothing) * p + truth.smoothing / classes
    return p if truth.class_weight is None else p * truth.class_weight.astype(np.float64)


def _kept(truth: Truth, n: int) -> Array:
    kept = np.ones(n, bool) if truth.labels is None else truth.labels >= 0
    return kept if truth.row_weight is None else kept & (truth.row_weight > 0)


def _surprise(q: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(0.0 - np.log(q))  # 0 rather than -0 for a certain class


def _weighted(p: Array, surprise: Array) -> Array:
    return np.where(p > 0, p * np.where(p > 0, surprise, 0), 0)


def _divergence_terms(p: Array, q: Array) -> Array:
    # With x = (p - q) / q, p log(p/q) - p + q = q ((1 + x) log1p(x) - x), a series from x² / 2 on: for small x the
    # closed form loses every digit that the series keeps.
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(q > 0, (p - q) / q, np.inf)
        small = np.abs(x) < 0.01
        y = np.where(small, x, 0)
        series = sum((-1) ** k * y**k / (k * (k - 1)) for k in range(2, 10))
        closed = np.where(p > 0, p * np.log(p / q), 0) - p + q
    return np.where(small, q * series, np.where(q > 0, closed, np.where(p > 0, np.inf, 0)))


def _difference_of_masses(p: Array, q: Array) -> Array:
    # Entry by entry before summing: p - q is small where p and q are close.
    return np.asarray((p - q).sum(axis=-1))


def _distribution_rows(argument: str, value: object, axis: int) -> tuple[Array, Array, tuple[int, ...]]:
    array = arrays.floating(argument, value)
    axis = class_axis(array.shape, axis, argument)
    rows = arrays.as_rows(array, axis).astype(np.float64)
    _check_distributions(argument, rows, array.dtype, np.ones(rows.shape[0], bool))
    return array, rows, array.shape[:axis] + array.shape[axis + 1 :]


def _check_distributions(argument: str, rows: Array, dtype: np.dtype[Any], kept: Array) -> None:
    """Raise for an entry outside [0, 1] and for a row whose sum is further from 1 than rounding explains."""
    wrong = ~((rows >= 0) & (rows <= 1)) & kept[:, None]
    if wrong.any():
        row, column = (int(i) for i in np.unravel_index(np.argmax(wrong), rows.shape))
        raise ValueError(f"{argument}, row {row}, class {column} = {rows[row, column]}: expected a number in [0, 1]")
    # Each entry may be off by half an ulp of itself or, below that, by far less: together by half an ulp of 1 in the
    # dtype; a softmax adds a few more, and its sum in that dtype grows with the root of the number of classes.
    half = {2: 2.0**-8, 4: 2.0**-24, 8: 2.0**-53}[dtype.itemsize]
    tolerance = max(1e-6, 16 * half * np.sqrt(rows.shape[1]))
    sums = rows.sum(axis=-1)
    off = (np.abs(sums - 1) > tolerance) & kept
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(f"{argument}, row {row} sums to {sums[row]}: expected 1 (within {tolerance:.1g})")
