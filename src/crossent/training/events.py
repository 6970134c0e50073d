"""What a training run tells its callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class TrainingEvent:
    """Where a training run stands.

    Attributes
    ----------
    kind : {"batches", "epoch"}
        After some batches within an epoch (every 0.1 to 0.3 s), or after the epoch.
    epoch, max_epochs : int
        The epoch under way or just ended, counted from 1, and how many there are to be at most.
    batch, n_batches : int
        The epoch's batches done, and how many it has.
    loss : float
        Mean training log-loss over the epoch's batches so far, each taken before its step, in nats.
    validation_loss, validation_accuracy : float or None
        On the validation rows, for ``kind="epoch"`` where there are any.
    learning_rate : float
        The step size of the last batch.
    seconds : float
        Since the training began.
    parameters : callable
        Returns copies of the weights and biases so far, two lists of arrays, for rows as ``fit`` was given them.
    """

    kind: Literal["batches", "epoch"]
    epoch: int
    max_epochs: int
    batch: int
    n_batches: int
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    parameters: Callable[[], tuple[list[Any], list[Any]]] = field(repr=False, compare=False)


Callback = Callable[[TrainingEvent], object]
"""Called with every event; returning True ends the training with the best parameters so far."""
