"""One temperature for all logits, from rows that the training did not see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

Array = npt.NDArray[Any]
Blocks = Iterable[tuple[slice, Array]]
GREATEST_LOG = np.log(100.0)
# Logits that are kept from one look to the next; more of them are computed anew each time.
KEPT_VALUES = 2**22


def fit_temperature(blocks: Callable[[], Blocks], labels: npt.NDArray[np.int64] | None, probs: Any) -> float:
    """Return the temperature T that gives ``softmax(logits / T)`` the least log-loss.

    With the truth p of each row it minimises, over ``log T``, ``sum_i (logsumexp(z_i / T) - <p_i, z_i> / T)`` plus
    ``(log T)^2 / 2``: where every row is right the log-loss alone would take T to 0, and few rows should not say much.

    Parameters
    ----------
    blocks : callable
        Gives the logits anew each time: pairs of the rows that a block has, and their logits, (rows, C).
    labels : (n,) array of int64, or None
    probs : (n, C) array or sparse matrix, or None
        The truth where it is no label.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(20_000, 3))
    >>> gumbel = rng.gumbel(size=logits.shape)
    >>> labels = (logits + gumbel).argmax(axis=1)
    >>> round(fit_temperature(lambda: [(slice(None), 5 * logits)], labels, None), 1)
    5.0
    """
    from scipy.optimize import minimize_scalar

    kept: list[tuple[slice, Array]] | None = []
    hit, values = 0.0, 0
    for rows, z in _from_greatest(blocks()):
        hit += _at_truth(z, None if labels is None else labels[rows], None if probs is None else probs[rows])
        values += z.size
        if kept is not None:
            kept = [*kept, (rows, z)] if values <= KEPT_VALUES else None

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        total = -scale * hit + log_temperature**2 / 2
        for _, z in _from_greatest(blocks()) if kept is None else kept:
            total += np.log(np.exp(scale * z).sum(axis=1)).sum()  # the greatest of each row is 0
        return float(total)

    found = minimize_scalar(loss, bounds=(-GREATEST_LOG, GREATEST_LOG), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _from_greatest(blocks: Blocks) -> Blocks:
    for rows, logits in blocks:
        z = logits.astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        yield rows, z


def _at_truth(z: Array, labels: Array | None, probs: Any) -> float:
    """Return the summed logits at the truth."""
    if probs is None:
        return float(z[np.arange(len(z)), labels].sum())
    return float(probs.multiply(z).sum() if issparse(probs) else np.vdot(z, probs))
