"""The pairing of the derivative with a direction, Σ v_c a_c, as a limit where entries are infinite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.simplex.rows import column, infinite, only, row_sum
from crossent.simplex_inputs import Array, sum_of

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential

# A sum of weights nearer to zero than this (relative to the weights) is rounding.
ROUNDING = 1e-12
# How near to a face is near enough for an entry to show how fast it grows there.
NEAR = 1e-100


def pair(d: Differential, v: Array) -> Any:
    """Return the limit of Σ v_c a_c from inside the simplex, as the notes of `Differential` define it.

    The shape is that of the rows; v is (C,) or (..., C).
    """
    ambient = d.ambient
    v = np.broadcast_to(v, ambient.shape)
    beyond = infinite(ambient)
    if not d.exact and d.loss_function is None:
        beyond &= np.isneginf(d.log_probs)
    used = np.asarray(v != 0, dtype=bool) & ~beyond
    with np.errstate(over="ignore"):
        terms = only(used, np.where(used, v, 0) * np.where(used, ambient, 0))
    if not beyond.any() and not infinite(terms).any():
        return row_sum(terms)
    out = np.empty(d.shape, dtype=terms.dtype)
    falls = only(beyond, v * _rates(d, ambient))
    for row in np.ndindex(d.shape):
        order = row_sum(falls[row])
        if abs(order) > (0 if d.exact else ROUNDING) * row_sum(abs(falls[row])):
            out[row] = -math.inf if order > 0 else math.inf
        elif infinite(terms[row]).any():
            out[row] = _by_logarithms(d[row], v[row], used[row])
        else:
            out[row] = row_sum(terms[row])
    return out if d.shape else out[()]


def almost(d: Differential, distance: float = NEAR) -> Array:
    """Return the predictions a little way to the truth, where no true class has probability 0."""
    share = distance * d.truth / np.maximum(column(d.mass), np.finfo(np.float64).tiny)
    return np.where((d.probs < distance) & (d.truth > 0), share, d.probs)


def relative(growth: Array, beyond: Array) -> Array:
    """Return rates of entries that are infinite, by their values close by, with 1 for the fastest of a row.

    Entries that are infinite close by too outrun all others.
    """
    endless = np.where(np.isinf(growth) & beyond, np.sign(growth), 0.0)
    rates = np.where(np.abs(endless).max(axis=-1, keepdims=True) > 0, endless, np.where(beyond, growth, 0.0))
    return np.asarray(rates / np.maximum(np.abs(rates).max(axis=-1, keepdims=True), np.finfo(np.float64).tiny))


def endless_slope(d: Differential) -> tuple[Array, Array]:
    """Return which rows have an infinite logit gradient, and what it is infinite times.

    That is the logit gradient of Σ q_c over the classes that cost inf, those that a reverse divergence excludes.
    """
    cost = np.where(d.ambient == np.inf, d.probs, 0)
    return np.asarray(infinite(d.logits).any(axis=-1)), cost - d.probs * column(row_sum(cost))


def beyond_bounds(lead: Array, values: Array, rows: Array) -> Array:
    """Return the values, infinite where in those rows the leading coefficient is not 0."""
    decided = (abs(lead) > ROUNDING) & rows
    return np.where(decided, np.where(lead > 0, np.inf, -np.inf), values)


def _rates(d: Differential, ambient: Array) -> Array:
    if d.loss_function is None:
        return np.ones(1, dtype=int)
    with np.errstate(all="ignore"):
        close = np.asarray(d.loss_function.ambient(almost(d), d.truth))
    return relative(0.0 - close, infinite(ambient))


def _by_logarithms(d: Differential, v: Array, used: Array) -> float:
    """Compare entries beyond float64's range by their logarithms."""
    used = used & (d.truth > 0)
    logs = np.log(d.truth[used]) - d.log_probs[used] + np.log(np.abs(v[used]))
    top = float(logs.max())
    lead = -sum_of(np.sign(v[used]) * np.exp(logs - top))
    with np.errstate(over="ignore"):
        return 0.0 if lead == 0 else math.copysign(float(np.exp(top + math.log(abs(lead)))), lead)
