"""Softmax of logits, and its logarithm, in the logits' dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def softmax(logits: Array) -> Array:
    """Return ``exp(z_c) / sum_k exp(z_k)`` per row; computed in float64.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]], dtype=np.float32))
    array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """
    below, rest, _ = _from_greatest(logits)
    odds = np.exp(below) * (1 + rest)
    odds /= odds.sum(axis=1, keepdims=True)
    rounded: Array = odds.astype(logits.dtype)
    return rounded


def log_softmax(logits: Array) -> Array:
    """Return the logarithm of ``softmax`` per row, to the last digits also where a probability is 1 but for 1e-30.

    With ``k`` the row's greatest logit: ``z_c - z_k - log1p(sum over c != k of exp(z_c - z_k))``.

    >>> log_softmax(np.array([[50.0, 0.0]]))
    array([[-1.92874985e-22, -5.00000000e+01]])
    """
    below, rest, greatest = _from_greatest(logits)
    others = np.exp(below) * (1 + rest)
    # Left in, the 1 of the greatest would swallow the others.
    others[np.arange(len(others)), greatest] = 0
    logs = below - (np.log1p(others.sum(axis=1, keepdims=True)) - rest)
    rounded: Array = logs.astype(logits.dtype)
    return rounded


def _from_greatest(logits: Array) -> tuple[Array, Array, Array]:
    """Return ``z - z_k`` in float64, what rounding took from it, and each row's ``k``.

    The rounding of a difference of 100 would be an error of 1e-14 in its exponential. Knuth's TwoSum has it exactly.
    """
    z = logits.astype(np.float64)
    greatest = z.argmax(axis=1)
    top = z[np.arange(len(z)), greatest][:, np.newaxis]
    with np.errstate(invalid="ignore"):
        below = z - top
        of_top = below - z
        rest = (z - (below - of_top)) - (top + of_top)
    # Weights may take a logit beyond the dtype's range: no less than itself, and more than all that is finite.
    below[z == top] = 0
    return below, np.where(np.isfinite(rest), rest, 0), greatest
