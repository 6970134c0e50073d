"""Joining the ranks that torchrun has started, and leaving them in every case."""

from __future__ import annotations

import os
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup

from crossent.errors import invalid_value
from crossent.ranks import patient_threads


class Job:
    """The default group of a job, left at the end of a ``with``.

    Attributes
    ----------
    group : ProcessGroup
    rank, size : int
    """

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A process that ends with the group still there may be aborted instead of showing its error.
        if dist.is_initialized():
            dist.destroy_process_group()


def init(timeout: float = 60.0, backend: str | None = None) -> Job:
    """Join the ranks that torchrun has started, with a time-out after which a rank that does not answer is given up.

    PyTorch's own time-out is 30 minutes. Use it as a context: ``with init() as job: …`` leaves the group also when
    something is raised. A process that was not started by torchrun is a job of one rank.

    Parameters
    ----------
    timeout : float
        Seconds that a collective operation waits for the other ranks.
    backend : str, optional
        ``"nccl"`` where there is a GPU for each rank of this machine, else ``"gloo"``.

    Returns
    -------
    Job
        With ``group``, ``rank`` and ``size``; a context manager.

    Raises
    ------
    ValueError
        For a time-out that is not positive.

    Examples
    --------
    >>> from crossent.torch.parallel import init
    >>> with init() as job:
    ...     print(job.rank, job.size)
    0 1
    """
    if not 0 < timeout < float("inf"):
        raise invalid_value("timeout", timeout, "a positive number of seconds")
    if backend is None:
        backend = "nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(dist.get_node_local_rank(fallback_rank=0))
    wait = timedelta(seconds=timeout)
    with patient_threads():
        # Every launcher says by this variable who is who; without one there is nobody to be met.
        if "RANK" in os.environ:
            dist.init_process_group(backend, timeout=wait)
        else:
            from torch._C._distributed_c10d import HashStore

            dist.init_process_group(backend, timeout=wait, store=HashStore(), rank=0, world_size=1)
    group = dist.group.WORLD
    assert group is not None
    return Job(group)
