"""The processes that train one model together, and what they say to each other: sums, and arrays of all ranks.

Built on torch.distributed, which is loaded only here and only when asked for; torchrun starts the processes. Every rank
has to make the same calls in the same order, so that what goes wrong on one is first told to all (`Ranks.together`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np

from crossent.arrays import Array

# Without an answer for so long the others are taken for lost; PyTorch's own 30 minutes would hold a broken job as long.
TIMEOUT_SECONDS = 60.0
# Of messages between two processes; those of a user's own that are sent meanwhile have other tags.
TAG = 0x43454C53
T = TypeVar("T")


class RankError(ValueError):
    """What was wrong on some rank, raised on every one."""


@dataclass(frozen=True)
class Ranks:
    """One of the processes of a group.

    Attributes
    ----------
    rank, size : int
        This process's number from 0, and how many there are.
    group : torch.distributed.ProcessGroup
        Of a backend that takes arrays in memory.
    """

    rank: int
    size: int
    group: Any
    # Where the other one's values arrive: fresh memory for every step's would cost as much as the sum.
    _room: dict[tuple[Any, Any], Array] = field(default_factory=dict, repr=False, compare=False)

    def sum(self, values: Array) -> None:
        """Replace the values, of one shape on every rank, by their sums over the ranks, the same bits on each."""
        if self.size == 2 and values.size:
            self._exchange(values)
        else:
            self._reduce(values, "SUM")

    def most(self, values: Array) -> None:
        """Replace the values, none of them NaN, by the greatest over the ranks."""
        self._reduce(values, "MAX")

    def _reduce(self, values: Array, operation: str) -> None:
        import torch
        import torch.distributed as dist

        if values.size:
            dist.all_reduce(torch.from_numpy(values), getattr(dist.ReduceOp, operation), group=self.group)

    def _exchange(self, values: Array) -> None:
        """Sum on the first process, to which the second sends its values and from which it gets the sums.

        One message at a time: gloo's thread that looks for them asks again and again, while another thread that is
        sending has the connection's lock.
        """
        import torch

        if self.rank == 1:
            own = [torch.from_numpy(values)]
            self.group.send(own, 0, TAG).wait()
            self.group.recv(own, 0, TAG).wait()
            return
        key = values.shape, values.dtype
        if key not in self._room:
            self._room.clear()
            self._room[key] = np.empty_like(values)
        self.group.recv([torch.from_numpy(self._room[key])], 1, TAG).wait()
        np.add(values, self._room[key], out=values)
        self.group.send([torch.from_numpy(values)], 1, TAG).wait()

    def gather(self, values: Array) -> list[Array]:
        """Return every rank's array; they differ in length only."""
        import torch
        import torch.distributed as dist

        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = len(values)
        self.sum(lengths)
        own = np.zeros((int(lengths.max()), *values.shape[1:]), values.dtype)
        own[: len(values)] = values
        if not own.size:
            return [own[:0].copy() for _ in range(self.size)]
        # As bytes: not every type of NumPy's is one of PyTorch's.
        sent = torch.from_numpy(own.reshape(-1).view(np.uint8))
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(parts, sent, group=self.group)
        arrays = [part.numpy().view(values.dtype).reshape(own.shape) for part in parts]
        return [array[:length] for array, length in zip(arrays, lengths, strict=True)]

    def gather_json(self, value: Any) -> list[Any]:
        """Return every rank's value, of those that JSON holds."""
        told = self.gather(np.frombuffer(json.dumps(value).encode(), np.uint8))
        return [json.loads(part.tobytes()) for part in told]

    def together(self, work: Callable[[], T]) -> T:
        """Return what the work gives, once every rank's has ended well.

        Raises
        ------
        RankError
            On every rank, with what went wrong on which. What went wrong in the same way on all is raised as it is.
        """
        result, problem, cause = None, None, None
        try:
            result = work()
        except Exception as error:
            problem, cause = f"{type(error).__name__}: {error}", error
        told = self.gather_json(problem)
        wrong = {rank: text for rank, text in enumerate(told) if text is not None}
        if cause is not None and set(told) == {problem}:
            raise cause
        if wrong:
            raise RankError("; ".join(f"rank {rank}: {text}" for rank, text in wrong.items())) from cause
        return result  # type: ignore[return-value]

    def agree(self, name: str, value: Any) -> None:
        """Raise on every rank unless all have the same value, one that JSON holds."""
        self.agree_on({name: value})

    def agree_on(self, values: Mapping[str, Any]) -> None:
        """Raise on every rank, for the first value that is not the same on all."""
        told = self.gather_json(dict(values))
        for name, first in told[0].items():
            for rank, others in enumerate(told):
                if others.get(name) != first:
                    other = others.get(name)
                    raise RankError(f"{name} is {first!r} on rank 0 and {other!r} on rank {rank}: expected the same")


def current_ranks() -> Ranks:
    """Return this process among those of torch.distributed; under torchrun the group is made here if there is none.

    Raises
    ------
    ValueError
        PyTorch is not installed, or no processes were started.
    """
    try:
        import torch.distributed as dist
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        raise ValueError("distributed=True needs PyTorch: pip install 'crossent[torch]'") from None
    if not dist.is_initialized():
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            raise ValueError(
                "distributed=True: expected processes started by torchrun, or a process group of torch.distributed"
            )
        with patient_threads():
            dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT_SECONDS))
    return _of_default_group()


@contextmanager
def patient_threads() -> Iterator[None]:
    """Let the threads that are started meanwhile wait for a core until it is free, as Linux's batch jobs do.

    gloo's look for messages again and again while another thread has the connection's lock: where they interrupt that
    very thread, on a machine with no core to spare, both lose their time slice.
    """
    batch = getattr(os, "SCHED_BATCH", None)
    if batch is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    try:
        os.sched_setscheduler(0, batch, os.sched_param(0))
    except OSError:  # a sandbox that does not let processes choose
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


_made: dict[int, Any] = {}


def _of_default_group() -> Ranks:
    import torch.distributed as dist

    default = dist.group.WORLD
    group = default
    if "gloo" not in str(dist.get_backend()):
        # One for arrays in memory beside the user's own, made once.
        if id(default) not in _made:
            with patient_threads():
                _made[id(default)] = dist.new_group(backend="gloo", timeout=timedelta(seconds=TIMEOUT_SECONDS))
        group = _made[id(default)]
    return Ranks(dist.get_rank(), dist.get_world_size(), group)


@contextmanager
def closing_group() -> Iterator[None]:
    """Close the process group at the end, where there is one: a process that ends without it may be aborted."""
    try:
        yield
    finally:
        import sys

        if "torch.distributed" in sys.modules:
            import torch.distributed as dist

            if dist.is_available() and dist.is_initialized():
                dist.destroy_process_group()
