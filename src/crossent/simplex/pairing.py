"""The pairing of the derivative with a direction, Σ v_c a_c, as a limit where entries are infinite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.simplex.rows import infinite, only, row_sum
from crossent.simplex_inputs import Array, sum_of

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential

# A sum of weights nearer to zero than this (relative to the weights) is rounding.
ROUNDING = 1e-12


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
    for row in np.ndindex(d.shape):
        order = row_sum(np.where(beyond[row], v[row] * np.where(ambient[row] > 0, -1, 1), 0 * v[row]))
        if abs(order) > (0 if d.exact else ROUNDING) * row_sum(abs(v[row])):
            out[row] = -math.inf if order > 0 else math.inf
        elif infinite(terms[row]).any():
            out[row] = _by_logarithms(d[row], v[row], used[row])
        else:
            out[row] = row_sum(terms[row])
    return out if d.shape else out[()]


def _by_logarithms(d: Differential, v: Array, used: Array) -> float:
    """Compare entries beyond float64's range by their logarithms."""
    used = used & (d.truth > 0)
    logs = np.log(d.truth[used]) - d.log_probs[used] + np.log(np.abs(v[used]))
    top = float(logs.max())
    lead = -sum_of(np.sign(v[used]) * np.exp(logs - top))
    with np.errstate(over="ignore"):
        return 0.0 if lead == 0 else math.copysign(float(np.exp(top + math.log(abs(lead)))), lead)
