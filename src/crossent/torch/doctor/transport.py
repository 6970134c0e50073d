"""Let gloo's threads finish with a collective before its process group goes.

What a backward of DistributedDataParallel sends keeps the modes that were on, and the group's thread needs the
interpreter to let go of them. PyTorch joins that thread from the group's destructor while it holds the interpreter: a
thread that had not come to it yet would be waited for without end.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

# The thread waits for the interpreter already, or is about to. It is offered many turns rather than one long one, which
# a machine that stands still for a moment would let pass at once.
TURNS, SECONDS = 60, 0.005


@contextmanager
def letting_go() -> Iterator[None]:
    """While it lasts, a process group is destroyed a moment later than asked for, with the interpreter free."""
    if not dist.is_available():
        yield
        return
    module: Any = dist
    destroy = module.destroy_process_group

    @functools.wraps(destroy)
    def destroy_later(*args: Any, **kwargs: Any) -> Any:
        for _ in range(TURNS):
            time.sleep(SECONDS)
        return destroy(*args, **kwargs)

    module.destroy_process_group = destroy_later
    try:
        yield
    finally:
        module.destroy_process_group = destroy
