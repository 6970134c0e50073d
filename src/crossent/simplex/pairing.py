"""The pairing of the derivative with a direction, Σ v_c a_c, as a limit where entries are infinite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.family.protocol import FamilyLoss
from crossent.simplex.rows import column, infinite, only, row_sum, zeros_like
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
    growth, rest = ambient_growth(d, beyond) if beyond.any() else ([], ambient)
    used = np.asarray(v != 0, dtype=bool)
    with np.errstate(over="ignore"):
        terms = only(used, np.where(used, v, 0) * np.where(used, rest, 0))
    if not beyond.any() and not infinite(terms).any():
        return row_sum(terms)
    out = np.empty(d.shape, dtype=terms.dtype)
    orders = [np.asarray(v * rate) for rate in growth]
    for row in np.ndindex(d.shape):
        endless = next((sign for order in orders if (sign := _sign(order[row], d.exact))), 0)
        if endless:
            out[row] = math.copysign(math.inf, endless)
        elif infinite(terms[row]).any():
            out[row] = _by_logarithms(d[row], v[row], used[row] & ~beyond[row])
        else:
            out[row] = row_sum(terms[row])
    return out if d.shape else out.item()


def ambient_growth(d: Differential, beyond: Array) -> tuple[list[Array], Array]:
    """Return at what rates the ambient entries grow near the face, the fastest first, and what is finite.

    A rate's coefficients are 0 where an entry does not grow; the finite ones are the entries themselves there.
    """
    ambient, loss = d.ambient, d.loss_function
    if loss is None:
        return [only(beyond, zeros_like(ambient) - 1)], only(~beyond, ambient)
    known = loss.ambient_growth(d.log_probs, d.truth) if isinstance(loss, FamilyLoss) else None
    if known is not None:
        return [only(beyond, rate) for rate in known[:-1]], np.where(beyond, known[-1], ambient)
    with np.errstate(all="ignore"):
        close = np.asarray(loss.ambient(almost(d), d.truth))
    return rates_close_by(close, beyond), only(~beyond, ambient)


def almost(d: Differential, distance: float = NEAR) -> Array:
    """Return the predictions a little way to the truth, where no true class has probability 0."""
    share = distance * d.truth / np.maximum(column(d.mass), np.finfo(np.float64).tiny)
    return np.where((d.probs < distance) & (d.truth > 0), share, d.probs)


def rates_close_by(close: Array, beyond: Array) -> list[Array]:
    """Return the rates of entries that are infinite by their values close by; what is infinite there too is first."""
    endless = np.isinf(close) & beyond
    return [np.where(endless, np.sign(close), 0.0), np.where(beyond & ~endless, close, 0.0)]


def endless_slope(d: Differential) -> tuple[Array, Array, Array]:
    """Return which rows have an infinite logit gradient, what it is infinite times, and every row's finite part.

    A reverse divergence has one, where it excludes some of the classes that are predicted, but not all.
    """
    endless = np.asarray(infinite(d.logits).any(axis=-1))
    if not endless.any():
        return endless, np.zeros_like(d.logits), d.logits
    growth, rest = ambient_growth(d, infinite(d.ambient))
    return endless, _in_logits(d, growth[0]), np.where(column(endless), _in_logits(d, rest), d.logits)


def _in_logits(d: Differential, ambient: Array) -> Array:
    """Return q_c (a_c − ⟨q, a⟩)."""
    return np.asarray(d.probs * (ambient - column(row_sum(d.probs * ambient))))


def beyond_bounds(lead: Array, values: Array, rows: Array) -> Array:
    """Return the values, infinite where in those rows the leading coefficient is not 0."""
    decided = (abs(lead) > ROUNDING) & rows
    return np.where(decided, np.where(lead > 0, np.inf, -np.inf), values)


def _sign(terms: Array, exact: bool) -> Any:
    """Return the sign of their sum, 0 where it is what rounding left."""
    total = row_sum(terms)
    return np.sign(total) if abs(total) > (0 if exact else ROUNDING) * row_sum(abs(terms)) else 0


def _by_logarithms(d: Differential, v: Array, used: Array) -> float:
    """Compare entries beyond float64's range by their logarithms."""
    used = used & (d.truth > 0)
    logs = np.log(d.truth[used]) - d.log_probs[used] + np.log(np.abs(v[used]))
    top = float(logs.max())
    lead = -sum_of(np.sign(v[used]) * np.exp(logs - top))
    with np.errstate(over="ignore"):
        return 0.0 if lead == 0 else math.copysign(float(np.exp(top + math.log(abs(lead)))), lead)
