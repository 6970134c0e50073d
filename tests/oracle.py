"""The exact loss and gradient of given logits, and distances to them in units in the last place (ulp).

Two oracles that check each other: mpmath with 60 digits, straight from the formulas, and NumPy's extended
precision (64 bits of mantissa or more, 11 beyond float64), which is fast enough for a million classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import mpmath
import numpy as np
from numpy.typing import NDArray

Extended = np.longdouble
if np.finfo(Extended).nmant < 63:
    raise RuntimeError("the oracle needs extended precision, and numpy.longdouble is plain float64 on this platform")

DIGITS = 60


class Exact(NamedTuple):
    """Loss per row (n,) and gradient (n, c)."""

    loss: NDArray[Any]
    grad: NDArray[Any]


def extended(x: Any) -> NDArray[Any]:
    """Convert numbers of any dtype to extended precision, exactly."""
    x = np.asarray(x)
    return x.astype(np.float32 if x.dtype.itemsize <= 2 else x.dtype).astype(Extended)


def _exp_difference(z: NDArray[Any], m: NDArray[Any]) -> NDArray[Any]:
    # The difference of two float64 numbers may not fit 64 bits: its remainder is carried along.
    d = z - m
    back = d - z
    remainder = (z - (d - back)) - (m + back)
    return np.exp(d) * (1 + np.where(np.isfinite(d), remainder, 0))


def _odds(logits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    z = extended(logits)
    top = z.argmax(axis=-1)[..., None]
    largest = np.take_along_axis(z, top, axis=-1)
    odds = _exp_difference(z, largest)
    np.put_along_axis(odds, top, Extended(0), axis=-1)
    s = odds.sum(axis=-1, keepdims=True)
    np.put_along_axis(odds, top, Extended(1), axis=-1)
    return z, largest, odds, s


def exact_labels(logits: NDArray[Any], label: NDArray[np.int64]) -> Exact:
    """Labels, in extended precision; the relative error is below 4e-18. The largest logit is finite."""
    with np.errstate(all="ignore"):
        z, largest, odds, s = _odds(logits)
        column = np.asarray(label)[..., None]
        loss = (largest - np.take_along_axis(z, column, axis=-1)) + np.log1p(s)
        grad = odds / (1 + s)
        np.put_along_axis(grad, column, Extended(0), axis=-1)
        np.put_along_axis(grad, column, -grad.sum(axis=-1, keepdims=True), axis=-1)
    return Exact(loss[..., 0], grad)


def exact_distributions(logits: NDArray[Any], probs: NDArray[Any]) -> Exact:
    """Distributions of any mass, in extended precision."""
    with np.errstate(all="ignore"):
        z, largest, odds, s = _odds(logits)
        p = extended(probs)
        gap = (largest - z) + np.log1p(s)
        loss = np.where(p == 0, 0, p * gap).sum(axis=-1)
        grad = p.sum(axis=-1, keepdims=True) * (odds / (1 + s)) - p
    return Exact(loss, grad)


def mpmath_row(logits: NDArray[Any], probs: list[Any]) -> tuple[Any, list[Any]]:
    """One row with 60 digits, from the formulas alone: Σ p_c (lse - z_c) and P·q - p; no NaN, no +inf."""
    finite = [float(value) for value in logits if value > -np.inf]
    # The formulas cancel as many digits as the row spans decades, and those of the offset: they come on top.
    lost = (max(finite) - min(finite) + np.log(1.0 + max(map(abs, finite)))) / np.log(10.0)
    with mpmath.workdps(DIGITS + int(lost) + 2):
        z = [mpmath.mpf(float(value)) for value in logits]
        exps = [mpmath.mpf(0) if value == -mpmath.inf else mpmath.exp(value) for value in z]
        total = mpmath.fsum(exps)
        lse = mpmath.log(total)
        p = [mpmath.mpf(value) if isinstance(value, float | int) else value for value in probs]
        mass = mpmath.fsum(p)
        loss = mpmath.fsum(p_c * (lse - z_c) for p_c, z_c in zip(p, z, strict=True) if p_c != 0)
        return loss, [mass * e_c / total - p_c for e_c, p_c in zip(exps, p, strict=True)]


def mpmath_label_row(logits: NDArray[Any], label: int) -> tuple[Any, list[Any]]:
    """One labelled row with 60 digits."""
    return mpmath_row(logits, [int(c == label) for c in range(len(logits))])


def to_extended(values: Any) -> NDArray[Any]:
    """Round 60 digits to extended precision."""
    return np.array([Extended(mpmath.nstr(value, 30)) for value in values], dtype=Extended)


def disagreement(got: Any, digits: Any) -> float:
    """Return the largest relative difference of extended precision from 60 digits; 60 digits of 0 are below 1e-55."""
    got, digits = np.atleast_1d(got), to_extended(digits)
    same = (got == digits) | ((got == 0) & (np.abs(digits) < 1e-55))
    with np.errstate(all="ignore"):
        return float(np.where(same, 0, np.abs(got - digits) / np.abs(digits)).max(initial=0.0))


def ulp(exact: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """The spacing of the dtype's numbers at the exact value; below the normal range, the smallest number."""
    info = ml_dtypes.finfo(dtype)
    _, exponent = np.frexp(np.where(np.isfinite(exact), exact, 0))
    exponent = np.where(exact == 0, info.minexp, np.maximum(exponent - 1, info.minexp))
    return np.ldexp(Extended(1), exponent - info.nmant)


def ulp_error(got: Any, exact: NDArray[Any], dtype: Any) -> NDArray[np.float64]:
    """|got - exact| in ulp of the exact value; inf where one is finite and the other not, or got is NaN."""
    got, exact = extended(got), np.asarray(exact)
    largest = extended(ml_dtypes.finfo(dtype).max)
    with np.errstate(all="ignore"):
        error = np.abs(got - exact) / ulp(exact, dtype)
        beyond = np.abs(exact) > largest
        same = (np.isinf(got) & beyond & (np.sign(got) == np.sign(exact))) | (got == exact)
        error = np.where(same, 0, np.where(np.isfinite(got), error, np.inf))
    return error.astype(np.float64)


def is_subnormal(exact: NDArray[Any], dtype: Any) -> NDArray[np.bool_]:
    """True where the exact value lies below the dtype's normal range, so that its last places are missing."""
    return np.abs(exact) < extended(ml_dtypes.finfo(dtype).tiny)


def is_false_zero(got: Any, exact: NDArray[Any], dtype: Any) -> NDArray[np.bool_]:
    """True where the result is 0 though the dtype can hold the exact value, as a subnormal at least."""
    return (extended(got) == 0) & (np.abs(exact) >= extended(ml_dtypes.finfo(dtype).smallest_subnormal))
