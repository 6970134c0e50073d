"""The few collective operations that the parallel losses need; one process on its own needs none."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from crossent.errors import invalid_type

# What one rank can say to the others at a time, in bytes of UTF-8.
TEXT = 2048


class Ranks:
    """The ranks of a process group, seen from this one.

    Parameters
    ----------
    group : ProcessGroup, optional
        None is the default group, or this process alone where ``torch.distributed`` is not initialised.

    Attributes
    ----------
    group : ProcessGroup or None
    rank, size : int
    is_alone : bool
        Whether this process is the whole job, so that nobody need be told which rank is meant.
    """

    def __init__(self, group: ProcessGroup | None = None) -> None:
        if not isinstance(group, ProcessGroup | None):
            raise invalid_type("group", group, "a ProcessGroup of torch.distributed")
        started = dist.is_available() and dist.is_initialized()
        if group is None and started:
            group = dist.group.WORLD
        self.group = group
        self.rank = 0 if group is None else dist.get_rank(group)
        self.size = 1 if group is None else dist.get_world_size(group)
        self.is_alone = group is None or dist.get_world_size() == 1
        if self.rank < 0:
            raise ValueError("group: this process is not one of its ranks")

    @property
    def device(self) -> torch.device:
        """Where the group's own messages live: on the CPU if it can."""
        if self.group is None or "nccl" not in dist.get_backend(self.group):
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())

    def name(self, rank: int) -> str:
        """Return what a message calls one of the ranks: its number among all of the job."""
        return f"rank {rank if self.group is None else dist.get_global_rank(self.group, rank)}"

    def sum_(self, values: Tensor) -> Tensor:
        """Replace the values by their sums over the ranks."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.SUM, group=self.group)
        return values

    def max_(self, values: Tensor) -> Tensor:
        """Replace the values by the largest of the ranks'. Never with NaN in them: gloo loses it."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX, group=self.group)
        return values

    def texts(self, text: str) -> list[str]:
        """Return every rank's text, cut to what fits, in rank order."""
        data = text.encode()[:TEXT]
        if self.size == 1:
            return [data.decode(errors="ignore")]
        own = torch.zeros(TEXT, dtype=torch.uint8)
        own[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else own[:0]
        own = own.to(self.device)
        everyone = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(everyone, own, group=self.group)
        return [bytes(each.tolist()).rstrip(b"\0").decode(errors="ignore") for each in everyone]
