"""One temperature for all logits, from rows that the training did not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Array = npt.NDArray[Any]
GREATEST_LOG = np.log(100.0)


def fit_temperature(logits: Array, labels: npt.NDArray[np.int64] | None, probs: Array | None) -> float:
    """Return the temperature T that gives ``softmax(logits / T)`` the least log-loss.

    With the truth p of each row it minimises, over ``log T``, ``sum_i (logsumexp(z_i / T) - <p_i, z_i> / T)`` plus
    ``(log T)^2 / 2``: where every row is right the log-loss alone would take T to 0, and few rows should not say much.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(20_000, 3))
    >>> gumbel = rng.gumbel(size=logits.shape)
    >>> labels = (logits + gumbel).argmax(axis=1)
    >>> round(fit_temperature(5 * logits, labels, None), 1)
    5.0
    """
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    hit = float(np.vdot(z, probs)) if probs is not None else float(z[np.arange(len(z)), labels].sum())

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(logsumexp(scale * z, axis=1).sum() - scale * hit + log_temperature**2 / 2)

    found = minimize_scalar(loss, bounds=(-GREATEST_LOG, GREATEST_LOG), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
