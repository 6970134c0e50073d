"""``crossent train`` under torchrun: every process trains on its part of the rows; the first one tells and writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from crossent.cli.options import Options
from crossent.cli.unfinished import Unfinished
from crossent.errors import invalid_value
from crossent.ranks import Ranks, current_ranks

T = TypeVar("T")


class Place:
    """Which of the processes this is; one that was started alone is the first and the only one.

    Attributes
    ----------
    ranks : Ranks or None
    is_first : bool
    """

    def __init__(self) -> None:
        self.ranks: Ranks | None = current_ranks() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self.is_first = self.ranks is None or self.ranks.rank == 0

    def together(self, work: Callable[[], T]) -> T:
        """Return what every process makes; an error in one is one in all."""
        return work() if self.ranks is None else self.ranks.together(work)

    def once(self, work: Callable[[], object]) -> None:
        """Do it in the first process, while the others wait."""
        self.together(lambda: work() if self.is_first else None)

    def options(self, options: Options, unfinished: Unfinished) -> Options:
        """Return the options of this process: the others than the first are quiet, and a restarted run goes on."""
        if self.ranks is None:
            return options
        if options.solver == "exact":
            raise invalid_value("--solver", options.solver, "sgd under torchrun")
        if options.stream:
            raise invalid_value("--stream", options.stream, "--no-stream under torchrun")
        restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
        # Each is asked by the first: what is on the disk may change while the others look.
        resume = self.ranks.gather_json(options.resume or (restarted and unfinished.is_there()))[0]
        options = replace(options, resume=resume, stream=False)
        return options if self.is_first else replace(options, quiet=True, report=False, compare=None)

    def own(self, n_rows: int) -> slice:
        """Return this process's part of so many rows."""
        if self.ranks is None:
            return slice(None)
        rank, size = self.ranks.rank, self.ranks.size
        return slice(n_rows * rank // size, n_rows * (rank + 1) // size)
