"""All that a training run needs to go on from where it was: arrays, and values that JSON holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from crossent.errors import DataError
from crossent.stored import MISFITS, alike
from crossent.training.network import Array

if TYPE_CHECKING:
    from crossent.training.engine import Run

RUN_VALUES = (
    "rate",
    "epoch",
    "block",
    "block_loss",
    "epoch_seed",
    "last_epoch",
    "cooldown_from",
    "cooldown_reason",
)
OPTIMIZER_VALUES = ("steps", "averaged", "rested", "weight", "seed")
WAITING_VALUES = ("epoch", "loss", "waited", "reference")
RESULT_VALUES = ("loss_curve", "validation_losses", "validation_accuracies", "n_epochs", "n_halvings")


@dataclass(frozen=True)
class Snapshot:
    """The state of a run between two blocks of rows."""

    arrays: dict[str, Array]
    values: dict[str, Any]

    def copy(self) -> Snapshot:
        """Return a snapshot that the run does not change any more."""
        return Snapshot({name: array.copy() for name, array in self.arrays.items()}, self.values)


class Store(Protocol):
    """Keeps snapshots of a run."""

    def load(self) -> Snapshot | None:
        """Return the last snapshot, or None at the beginning."""
        ...

    def offer(self, take: Callable[[], Snapshot]) -> None:
        """Hear that a snapshot could be taken now."""
        ...

    def flush(self) -> None:
        """Write the last snapshot that was offered."""
        ...

    def finish(self) -> None:
        """Hear that the run is over."""
        ...


def take(run: Run) -> Snapshot:
    """Return the run's state; its arrays are the run's own."""
    optimizer, best = run.optimizer, run.best
    arrays = {"theta": run.theta, "epoch_start": run.epoch_start, "good": run.good, "state": optimizer.state}
    if optimizer.average is not None:
        arrays["average"] = optimizer.average
    if best.parameters is not None:
        arrays["best"] = best.parameters
    values: dict[str, Any] = {"rng": run.rng.bit_generator.state}
    for part, (source, names) in _parts(run).items():
        found = {name: getattr(source, name) for name in names}
        # The lists of the result grow on.
        values[part] = {name: list(value) if isinstance(value, list) else value for name, value in found.items()}
    return Snapshot(arrays, values)


def restore(run: Run, stored: Snapshot) -> None:
    """Put a run that has just begun where the stored one was.

    Raises
    ------
    DataError
        The state is not one of such a run.
    """
    try:
        _compare(take(run), stored)
        _put(run, stored)
    except DataError:
        raise
    except MISFITS as problem:
        raise DataError(f"the stored state does not fit this run ({problem!r})") from problem


def _compare(own: Snapshot, stored: Snapshot) -> None:
    """Refuse a state with an array or a value of another kind than a run's own."""
    for name, array in stored.arrays.items():
        like = own.arrays.get(name, own.arrays["theta"])
        if (array.shape, array.dtype) != (like.shape, like.dtype):
            found = f"is {array.dtype} of shape {array.shape}"
            raise DataError(f"the stored array {name!r} {found}: expected {like.dtype} of shape {like.shape}")
        if not np.isfinite(array).all():
            raise DataError(f"the stored array {name!r} holds a number that is not finite")
    for part, values in own.values.items():
        for name, like in values.items() if part != "rng" else ():
            value = stored.values[part][name]
            if isinstance(like, list):
                same = isinstance(value, list) and all(alike(one, 0.0) for one in value)
            else:
                same = alike(value, like)
            if not same:
                raise DataError(f"the stored {part} has {name} = {str(value)[:60]!r}: expected one like {like!r}")


def _put(run: Run, stored: Snapshot) -> None:
    arrays, values = stored.arrays, stored.values
    run.theta[...] = arrays["theta"]
    run.epoch_start, run.good = arrays["epoch_start"].copy(), arrays["good"].copy()
    run.optimizer.state[...] = arrays["state"]
    if run.optimizer.average is not None:
        run.optimizer.average[...] = arrays["average"]
    run.best.parameters = arrays["best"].copy() if "best" in arrays else None
    run.rng.bit_generator.state = values["rng"]
    for part, (target, names) in _parts(run).items():
        for name in names:
            setattr(target, name, values[part][name])
    if run.cooldown_reason is not None:
        run.lower_shares()


def _parts(run: Run) -> dict[str, tuple[Any, tuple[str, ...]]]:
    return {
        "run": (run, RUN_VALUES),
        "optimizer": (run.optimizer, OPTIMIZER_VALUES),
        "best": (run.best, WAITING_VALUES),
        "falling": (run.falling, WAITING_VALUES),
        "result": (run.result, RESULT_VALUES),
    }
