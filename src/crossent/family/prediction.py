"""Predictions and truths as rows of float64, with what a confident row must not lose: 1 − q_c and q_c − p_c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossent.errors import invalid_type, invalid_value

Array: TypeAlias = NDArray[np.float64]

# Rows of float32 probabilities sum to 1 within this; what is further off is no distribution.
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Prediction:
    """Rows of predicted probabilities, the classes last.

    Attributes
    ----------
    probs, log_probs : float64 array (..., C)
        q and log q; the logarithm is finite also where a probability is below float64's range.
    rest : float64 array (..., C)
        1 − q_c, accurate relative to itself.
    is_top : bool array (..., C)
        True at the row's likeliest class, once per row.
    """

    probs: Array
    log_probs: Array
    rest: Array
    is_top: NDArray[np.bool_]

    def of_top(self, values: Array) -> Array:
        """Return each row's value at its likeliest class, (..., 1)."""
        return np.asarray(np.where(self.is_top, values, 0.0).sum(axis=-1, keepdims=True))

    def others(self, values: Array) -> Array:
        """Return each row's sum over all classes but the likeliest, (..., 1)."""
        return np.asarray(np.where(self.is_top, 0.0, values).sum(axis=-1, keepdims=True))

    def minus(self, truth: Array) -> Array:
        """Return q − p for a truth of mass 1, without the cancellation of two numbers near 1."""
        complement = self.others(truth) - self.rest
        near = self.is_top & (self.probs > 0.5) & (truth > 0.5)
        return np.where(near, complement, self.probs - truth)


def from_probs(probs: ArrayLike) -> Prediction:
    """Return rows given as probabilities, each divided by its sum, which must be 1 within 1e-6."""
    q = _rows(probs, "probs")
    _refuse(~(np.isfinite(q) & (q >= 0)), q, "probs", "a finite number >= 0")
    return _from_odds(_normalized(q, "probs"), None)


def from_log_probs(log_probs: ArrayLike) -> Prediction:
    """Return rows given as log-probabilities, which must sum to 1 within 1e-6; −inf is a class that takes no part."""
    logs = _rows(log_probs, "log_probs")
    _refuse(~(logs < np.inf), logs, "log_probs", "a finite number or -inf")
    with np.errstate(over="ignore"):
        q = np.exp(logs)
    _check_sums(q, "exp(log_probs)")
    return _from_odds(q, logs)


def from_logits(logits: ArrayLike) -> Prediction:
    """Return softmax(logits); −inf is a class that takes no part, and one class must do so."""
    z = _rows(logits, "logits")
    _refuse(~(z < np.inf), z, "logits", "a finite number, or -inf for a class that takes no part")
    largest = z.max(axis=-1, keepdims=True)
    _refuse(np.isneginf(largest), largest, "logits", "a row with at least one finite number")
    with np.errstate(invalid="ignore", over="ignore"):
        gap = z - largest
        # Knuth's TwoSum: what the rounding of z − max lost.
        back = gap - z
        lost = (z - (gap - back)) - (largest + back)
    lost = np.where(np.isfinite(lost), lost, 0.0)
    odds = np.exp(gap) * (1.0 + lost)
    is_top = _tops(z)
    against = np.where(is_top, 0.0, odds).sum(axis=-1, keepdims=True)
    share = against / (1.0 + against)
    q = odds / (1.0 + against)
    return Prediction(q, gap - np.log1p(against), np.where(is_top, share, 1.0 - q), is_top)


def truth_of(truth: ArrayLike, shape: tuple[int, ...], *, any_mass: bool) -> Array:
    """Return the truth as masses of a shape: integer labels, (...), or non-negative floats, (..., C), that broadcast.

    Unless ``any_mass`` is set, each row must sum to 1 within 1e-6, and is divided by its sum.
    """
    given = np.asarray(truth)
    if given.dtype.kind in "iu":
        return _one_hot(given, shape)
    p = _rows(given, "truth")
    try:
        p = np.broadcast_to(p, shape)
    except ValueError:
        raise invalid_value(
            "truth.shape", p.shape, f"{shape}, a mass per class, or integer labels {shape[:-1]}"
        ) from None
    _refuse(~(np.isfinite(p) & (p >= 0)), p, "truth", "a finite number >= 0")
    return p if any_mass else _normalized(p, "truth")


def _one_hot(labels: NDArray[Any], shape: tuple[int, ...]) -> Array:
    if labels.shape != shape[:-1]:
        raise invalid_value("truth.shape", labels.shape, f"{shape[:-1]} for integer labels, or floats {shape}")
    bad = (labels < 0) | (labels >= shape[-1])
    if bad.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise invalid_value(_place("truth", place), int(labels[place]), f"a class in [0, {shape[-1]})")
    return np.asarray(labels[..., None] == np.arange(shape[-1]), dtype=np.float64)


def _from_odds(q: Array, logs: Array | None) -> Prediction:
    """Build rows from numbers that sum to 1 but for rounding: the likeliest class is what the others leave."""
    is_top = _tops(q)
    rest = np.where(is_top, 0.0, q).sum(axis=-1, keepdims=True)
    top = np.where(is_top, q, 0.0).sum(axis=-1, keepdims=True)
    if logs is None:
        logs = np.full_like(q, -np.inf)
        np.log(q, out=logs, where=q > 0)
    logs = np.where(is_top, -np.log1p(rest / top), logs)
    return Prediction(q, logs, np.where(is_top, rest, 1.0 - q), is_top)


def _tops(values: Array) -> NDArray[np.bool_]:
    return np.asarray(values.argmax(axis=-1)[..., None] == np.arange(values.shape[-1]))


def _rows(values: ArrayLike, argument: str) -> Array:
    try:
        rows = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise invalid_type(argument, values, "numbers, one per class along the last axis") from None
    if rows.ndim == 0 or rows.shape[-1] < 2:
        raise invalid_value(f"{argument}.shape", rows.shape, "at least 2 classes along the last axis")
    return rows


def _refuse(bad: NDArray[np.bool_], values: Array, argument: str, want: str) -> None:
    if bad.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise invalid_value(_place(argument, place), float(values[place]), want)


def _normalized(rows: Array, argument: str) -> Array:
    sums = _check_sums(rows, argument)
    return np.where(np.abs(sums - 1.0) > np.finfo(np.float64).eps, rows / sums, rows)


def _check_sums(rows: Array, argument: str) -> Array:
    """Return each row's sum, (..., 1), after raising for one that is not 1."""
    sums = rows.sum(axis=-1)
    off = ~(np.abs(sums - 1.0) <= SUM_TOLERANCE)
    if off.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
        raise invalid_value(f"the sum of {_place(argument, place)}", float(sums[place]), f"1 within {SUM_TOLERANCE}")
    return np.asarray(sums[..., None])


def _place(argument: str, place: tuple[int, ...]) -> str:
    return f"{argument}[{', '.join(map(str, place))}]" if place else argument
