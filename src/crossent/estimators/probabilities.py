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
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z.astype(logits.dtype)


def log_softmax(logits: Array) -> Array:
    """Return the logarithm of ``softmax`` per row, to the last digits also where a probability is 1 but for
    1e-30.

    With ``k`` the row's greatest logit: ``z_c - z_k - log1p(sum over c != k of exp(z_c - z_k))``.

    >>> log_softmax(np.array([[50.0, 0.0]]))
    array([[-1.92874985e-22, -5.00000000e+01]])
    """
    z = logits.astype(np.float64)
    rows, greatest = np.arange(len(z)), z.argmax(axis=1)
    z -= z[rows, greatest][:, np.newaxis]
    others = np.exp(z)
    # Left in, the 1 of the greatest would swallow the others.
    others[rows, greatest] = 0
    z -= np.log1p(others.sum(axis=1, keepdims=True))
    return z.astype(logits.dtype)
