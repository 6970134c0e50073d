"""What the ranks of a data-parallel run divide by, exchanged through their store, beside the collectives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist

from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.checks import averages
from crossent.torch.doctor.findings import Finding


class Ranks:
    """Tell the other ranks before a backward, which averages gradients, and compare after it.

    A rank that is past the backward knows that all others have entered it, and so have told: nothing waits.
    """

    def __init__(self) -> None:
        self._told: list[str] = []

    @staticmethod
    def is_alone() -> bool:
        """Whether there is no other rank."""
        return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)

    def tell(self, update: int, terms: dict[LossCall, float]) -> None:
        """Write what the means of a backward divide by."""
        if self.is_alone():
            return
        means = {call.where: (factor, call.denominator) for call, factor in terms.items() if averages.is_mean(call)}
        if not means:
            return
        key = f"crossent-doctor/{update}/{len(self._told)}/"
        _store().set(f"{key}{dist.get_rank()}", json.dumps(means))
        self._told.append(key)

    def compare(self) -> Iterator[tuple[Finding, float]]:
        """Yield what the first rank sees of the others, for the backwards since the last step."""
        told, self._told = self._told, []
        if not told or not dist.is_initialized() or dist.get_rank() != 0:
            return
        store, worlds = _store(), range(dist.get_world_size())
        for key in told:
            keys = [f"{key}{rank}" for rank in worlds]
            if not store.check(keys):
                continue
            each = [json.loads(store.get(one)) for one in keys]
            for one in keys:
                store.delete_key(one)
            for where in each[0]:
                if all(where in means for means in each):
                    yield from averages.mean_over_ranks(where, [tuple(means[where]) for means in each])


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()
