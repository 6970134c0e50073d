"""The best parameters so far by validation log-loss, and when waiting for better ones is over."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class BestSoFar:
    """Keeps a copy of the parameters with the least loss.

    Parameters
    ----------
    patience : int or None
        After so many updates in a row without a lesser loss, ``exhausted`` is True. None waits for ever.

    Examples
    --------
    >>> best = BestSoFar(patience=2)
    >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.7], start=1):
    ...     best.update(epoch, loss, np.array([loss]))
    >>> best.epoch, best.loss, best.parameters, best.exhausted
    (2, 0.5, array([0.5]), True)
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.epoch = 0
        self.loss = np.inf
        self.parameters: npt.NDArray[Any] | None = None
        self._waited = 0

    def update(self, epoch: int, loss: float, parameters: npt.NDArray[Any]) -> None:
        """Take in the loss after an epoch; a NaN is never the best."""
        if loss < self.loss:
            self.epoch, self.loss, self.parameters, self._waited = epoch, loss, parameters.copy(), 0
        else:
            self._waited += 1

    @property
    def exhausted(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self._waited >= self.patience
