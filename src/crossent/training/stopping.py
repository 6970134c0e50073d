"""When waiting for lower losses is over, and whether the least one is to be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# How many standard errors the best epoch's validation log-loss must lie below the last one's.
CLEARLY = 2.0


class BestSoFar:
    """Keeps a copy of the parameters with the least loss.

    Parameters
    ----------
    patience : int or None
        After so many updates in a row without a loss less by ``tol``, ``exhausted`` is True. None waits for ever.
    tol : float

    Examples
    --------
    >>> best = BestSoFar(patience=2)
    >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.7], start=1):
    ...     best.update(epoch, loss, np.array([loss]))
    >>> best.epoch, best.loss, best.parameters, best.exhausted
    (2, 0.5, array([0.5]), True)
    """

    def __init__(self, patience: int | None = None, tol: float = 0.0) -> None:
        self.patience, self.tol = patience, tol
        self.epoch = 0
        self.loss = np.inf
        self.parameters: npt.NDArray[Any] | None = None
        self.waited = 0
        self.reference = np.inf

    def update(self, epoch: int, loss: float, parameters: npt.NDArray[Any] | None) -> None:
        """Take in the loss after an epoch; a NaN is never the best. Without parameters only the waiting counts."""
        self.waited += 1
        if loss < self.reference - self.tol:
            self.reference, self.waited = loss, 0
        if loss < self.loss:
            self.epoch, self.loss = epoch, loss
            self.parameters = None if parameters is None else parameters.copy()

    @property
    def exhausted(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.waited >= self.patience


def is_clearly_less(best: npt.NDArray[np.float64], last: npt.NDArray[np.float64]) -> bool:
    """Return whether the one mean loss is less than the other by more than chance explains.

    Both are mean losses of the same groups of rows. The best of many epochs on few rows is best by chance: it is
    taken for better where the mean of the differences is over two of its standard errors.

    >>> rng = np.random.default_rng(0)
    >>> losses, noise = rng.exponential(size=50), rng.normal(size=50)
    >>> is_clearly_less(losses, losses + 0.1 * noise), is_clearly_less(losses, losses + 0.1 + 0.1 * noise)
    (False, True)
    """
    difference = last - best
    if len(difference) < 2:
        return bool(difference.mean() > 0)
    return bool(difference.mean() > CLEARLY * difference.std(ddof=1) / np.sqrt(len(difference)))
