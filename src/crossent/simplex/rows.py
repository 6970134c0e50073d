"""Arithmetic along the last axis for rows of float64, and exactly for rows of fractions (object arrays)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossent.simplex_inputs import Array, sum_of


def is_exact(values: Array) -> bool:
    """Return whether the numbers are fractions."""
    return values.dtype == object


def row_sum(values: Array) -> Any:
    """Return each row's sum, correctly rounded (exact for fractions): a number for one row, else an array."""
    if values.ndim == 1:
        return sum(values.tolist(), Fraction(0)) if is_exact(values) else sum_of(values)
    sums = np.empty(values.shape[:-1], dtype=values.dtype)
    for row in np.ndindex(sums.shape):
        sums[row] = row_sum(values[row])
    return sums


def column(numbers: Any) -> Array:
    """Return one number per row as an array that broadcasts over the row's classes."""
    return np.asarray(numbers)[..., None]


def zeros_like(values: Array, shape: tuple[int, ...] | None = None) -> Array:
    """Return zeros of the same kind."""
    zero = Fraction(0) if is_exact(values) else 0.0
    return np.full(values.shape if shape is None else shape, zero, dtype=values.dtype)


def only(mask: NDArray[np.bool_], values: Array) -> Array:
    """Return the values where the mask holds, and zero elsewhere."""
    out = zeros_like(values, np.broadcast_shapes(mask.shape, values.shape))
    np.copyto(out, values, where=mask)
    return out


def infinite(values: Any) -> NDArray[np.bool_]:
    """Return where numbers of either kind are infinite."""
    values = np.asarray(values)
    return np.asarray((values == math.inf) | (values == -math.inf), dtype=bool)


def two_diff(x: Any, y: Any) -> tuple[Array, Array]:
    """Return x − y and what its rounding lost, whose sum is exact (Knuth's TwoSum); nothing is lost by fractions."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.asarray(x - y)
        if is_exact(gap):
            return gap, zeros_like(gap)
        back = gap - x
        lost = (x - (gap - back)) - (y + back)
    return gap, np.where(np.isfinite(lost), lost, 0.0)


def as_floats(values: Array) -> Array:
    """Return the numbers in float64, fractions beyond its range as ±inf."""
    if not is_exact(values):
        return values
    out = np.empty(values.shape)
    for place in np.ndindex(values.shape):
        try:
            out[place] = float(values[place])
        except OverflowError:
            out[place] = math.inf if values[place] > 0 else -math.inf
    return out


def read_only(array: Array) -> Array:
    """Return the array, which can be written no more."""
    array.setflags(write=False)
    return array
