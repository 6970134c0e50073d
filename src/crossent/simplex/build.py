"""Differentials from probabilities, from fractions and from logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crossent.errors import invalid_type, invalid_value
from crossent.family.protocol import PredictionLoss, value_and_logit_gradient
from crossent.simplex.exact import logarithms
from crossent.simplex.one_form import Differential
from crossent.simplex.rows import column, is_exact, only, read_only, row_sum, two_diff
from crossent.simplex_inputs import (
    SUM_TOLERANCE,
    Array,
    FloatArray,
    Target,
    class_names,
    fraction,
    has_fractions,
    masses,
    per_class,
    refuse,
    row_name,
    truth_masses,
    wrong_sum,
)
from crossent.targets import real


def differential(
    probs: ArrayLike,
    target: Target,
    *,
    weight: ArrayLike | None = None,
    label_smoothing: float | Fraction = 0.0,
    classes: Sequence[object] | None = None,
    normalize: bool = False,
    loss: PredictionLoss | None = None,
) -> Differential:
    """Return a loss's differential, the cross-entropy's by default, at predictions given as probabilities.

    Parameters
    ----------
    probs : array-like, shape (C,) or (..., C)
        Non-negative, with sum 1 within 1e-6; divided by that sum where it is off by more than rounding. With a
        `fractions.Fraction` among them all are exact, and so are the components; then the sum is exactly 1.
    target : int, str, mapping or array-like
        For one prediction a class by index or name, or a distribution (C,) of any non-negative mass; a mapping may
        leave classes out. For rows labels (...) or distributions (..., C).
    weight : array-like, shape (C,), optional
        Class weights, multiplied into the truth.
    label_smoothing : float
        ε in [0, 1]: the truth becomes (1 − ε)·p + ε/C, before the weights.
    classes : sequence of str, optional
        Names, by default ``"0"``, ``"1"``, ….
    normalize : bool
        Accept any positive sum.
    loss : PredictionLoss, optional
        Another loss of the prediction, by its value and its derivatives.

    Raises
    ------
    ValueError, TypeError
        The message names the row, the class, its value and what was expected.

    Notes
    -----
    The likeliest class's log-probability is −log1p(rest/q_k), so that ``[1.0, 1e-20]`` has loss 1e-20.

    Examples
    --------
    >>> differential([0.5, 0.25, 0.25], 0).loss
    0.6931471805599453
    >>> differential([1.0, 1e-20], 0).loss
    1e-20
    >>> from fractions import Fraction as F
    >>> differential([F(1, 2), F(1, 3), F(1, 6)], 0).grad(0).tolist()
    [Fraction(0, 1), Fraction(2, 1), Fraction(2, 1)]
    >>> differential([[0.5, 0.5], [0.25, 0.75]], [0, 1]).logits.tolist()
    [[-0.5, 0.5], [0.25, -0.25]]
    """
    exact = has_fractions(probs)
    if exact and loss is not None:
        raise TypeError(f"probs is a Fraction: expected floats, as {loss.name} is not computed in fractions")
    values = per_class(probs, "probs", exact=exact)
    names = class_names(classes, values.shape[-1])
    values = masses(values, names, "probs", values.shape, exact=exact)
    total = row_sum(values)
    _check_sums(np.asarray(total), normalize, exact)
    off = np.asarray(total != 1 if exact else abs(total - 1.0) > np.finfo(np.float64).eps, dtype=bool)
    if off.any():
        values = np.where(column(off), values / column(total), values)
    truth = _truth(target, names, values.shape[:-1], weight, label_smoothing, loss, exact=exact)
    return from_probs(names, values, truth, loss, total)


def differential_from_logits(
    logits: ArrayLike,
    target: Target,
    *,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    classes: Sequence[object] | None = None,
    loss: PredictionLoss | None = None,
) -> Differential:
    """Return a loss's differential at softmax(logits), where 1 − q_y never cancels.

    Parameters
    ----------
    logits : array-like, shape (C,) or (..., C)
        Finite, or −inf for a class that takes no part.
    target, weight, label_smoothing, classes, loss
        As for `differential`.

    Raises
    ------
    ValueError, TypeError
        NaN or +inf in the logits, or every one of a row −inf.

    Examples
    --------
    >>> d = differential_from_logits([46.0, 0.0], 0)
    >>> d.loss
    1.0530617357553812e-20
    >>> d.logits.tolist()
    [-1.0530617357553812e-20, 1.0530617357553812e-20]
    """
    values = per_class(logits, "logits")
    names = class_names(classes, values.shape[-1])
    want = "a finite number, or -inf for a class that takes no part"
    refuse(~(values < np.inf), values, names, "logits", want)
    for row in np.argwhere(np.isneginf(values).all(axis=-1)):
        raise invalid_value(f"the largest of {row_name('logits', row)}", -math.inf, "a finite number")
    truth = _truth(target, names, values.shape[:-1], weight, label_smoothing, loss, exact=False)
    return from_logits(names, values, truth, loss)


def from_probs(
    classes: tuple[str, ...], probs: Array, truth: Array, loss: PredictionLoss | None, given_sum: Any = None
) -> Differential:
    """Return the differential at checked probabilities (..., C) that sum to 1."""
    top = np.argmax(probs, axis=-1)[..., None]
    others = np.arange(probs.shape[-1]) != top
    rest = row_sum(only(others, probs))
    if is_exact(probs):
        log_probs = logarithms(probs)
    else:
        log_probs = np.full(probs.shape, -np.inf)
        np.log(probs, out=log_probs, where=probs > 0)
        largest = np.take_along_axis(probs, top, axis=-1)
        np.put_along_axis(log_probs, top, 0.0 - np.log1p(column(rest) / largest), axis=-1)
    if loss is not None:
        with np.errstate(all="ignore"):
            both = loss.value(probs, truth), loss.logit_gradient(log_probs, truth)
        return _build(classes, probs, log_probs, truth, *both, given_sum=given_sum, loss=loss)
    gradient = _logit_gradient(probs, truth, others, rest)
    return _build(classes, probs, log_probs, truth, _cross_entropy(log_probs, truth), gradient, given_sum=given_sum)


def from_logits(
    classes: tuple[str, ...], logits: FloatArray, truth: FloatArray, loss: PredictionLoss | None
) -> Differential:
    """Return the differential at the softmax of checked logits (..., C)."""
    top = np.argmax(logits, axis=-1)[..., None]
    others = np.arange(logits.shape[-1]) != top
    gap, lost = two_diff(logits, np.take_along_axis(logits, top, axis=-1))
    odds = _odds(gap, lost, others)
    probs = np.exp(gap) * (1.0 + lost) / (1.0 + column(odds))
    log_probs = gap - np.log1p(column(odds))
    if loss is not None:
        with np.errstate(all="ignore"):
            both = value_and_logit_gradient(loss, logits, truth)
        return _build(classes, probs, log_probs, truth, *both, loss=loss)
    gradient = _logit_gradient(probs, truth, others, odds / (1.0 + odds))
    return _build(classes, probs, log_probs, truth, _cross_entropy(log_probs, truth), gradient)


def _odds(gap: FloatArray, lost: FloatArray, others: Array) -> Any:
    """Return Σ exp(gap + lost) over the others."""
    largest = np.where(others, gap, -np.inf).max(axis=-1)
    # Terms that are each below float64's range may have a sum that is not.
    shift = np.where((largest < -700) & (largest > -np.inf), largest, 0.0)
    half = np.exp(shift / 2)
    terms = np.where(others, np.exp(np.where(others, gap - column(shift), 0.0)) * (1.0 + lost), 0.0)
    odds = half * (half * row_sum(terms))
    return odds if odds.ndim else float(odds)


def _build(
    classes: tuple[str, ...],
    probs: Array,
    log_probs: FloatArray,
    truth: Array,
    value: Any,
    gradient: Array,
    *,
    given_sum: Any = None,
    loss: PredictionLoss | None = None,
) -> Differential:
    if loss is not None:
        for part, numbers in (("value", value), ("logit gradient", gradient)):
            if np.isnan(numbers).any():
                raise invalid_value(f"the {part} of {loss.name}", math.nan, "a number, a limit where there is one")
    if given_sum is None:
        given_sum = np.ones(probs.shape[:-1]) if probs.ndim > 1 else 1.0
    return Differential(
        classes,
        read_only(probs),
        read_only(log_probs),
        read_only(truth),
        loss=np.asarray(value, dtype=np.float64) if np.ndim(value) else float(value),
        logits=read_only(np.array(gradient) + 0),
        given_sum=given_sum,
        loss_function=loss,
    )


def _cross_entropy(log_probs: FloatArray, truth: Array) -> Any:
    p = truth.astype(np.float64)
    here = p > 0
    terms = np.where(here, p * np.where(here, 0.0 - log_probs, 0.0), 0.0)
    return row_sum(terms) + 0.0


def _logit_gradient(probs: Array, truth: Array, others: Array, rest: Any) -> Array:
    mass = row_sum(truth)
    gradient = np.asarray(column(mass) * probs - truth)
    if is_exact(probs):
        return gradient
    # Minus the sum of the others: q_k − 1 would round a confident prediction's gradient away.
    confident = ~others & (probs > 0.5)
    return np.where(confident, column(row_sum(only(others, truth)) - mass * rest), gradient)


def _check_sums(total: Array, normalize: bool, exact: bool) -> None:
    if normalize:
        good, want = (total > 0) & (total < math.inf), "a positive, finite number"
    elif exact:
        good, want = total == 1, "exactly 1, as probs are fractions (or normalize=True)"
    else:
        good, want = abs(total - 1.0) <= SUM_TOLERANCE, f"1 within {SUM_TOLERANCE} (or normalize=True)"
    for row in np.argwhere(~np.asarray(good, dtype=bool)):
        raise wrong_sum(row_name("probs", row), total[tuple(row)], want)


def _truth(
    target: Target,
    classes: tuple[str, ...],
    lead: tuple[int, ...],
    weight: ArrayLike | None,
    label_smoothing: float | Fraction,
    loss: PredictionLoss | None,
    *,
    exact: bool,
) -> Array:
    truth = truth_masses(target, classes, lead, exact=exact)
    smoothing = _smoothing(label_smoothing, exact)
    if smoothing:
        truth = np.asarray((1 - smoothing) * truth + smoothing / len(classes))
    if weight is not None:
        if loss is not None:
            raise invalid_type(
                "weight", weight, f"None: it multiplies the truth, which is not a weight for {loss.name}"
            )
        if isinstance(weight, str):
            raise invalid_type("weight", weight, "one number per class")
        truth = truth * masses(weight, classes, "weight", (len(classes),), exact=exact)
    mass = np.asarray(row_sum(truth))
    for row in np.argwhere(np.asarray(mass == math.inf, dtype=bool)):
        raise wrong_sum(row_name("target", row), math.inf, "a finite number")
    return truth


def _smoothing(value: float | Fraction, exact: bool) -> Any:
    smoothing = real("label_smoothing", value)
    if not 0 <= smoothing <= 1:
        raise invalid_value("label_smoothing", value, "a number in [0, 1]")
    return fraction(value, "label_smoothing") if exact and value else smoothing
