"""Follow the processes that a script starts: the ranks of a data-parallel run are watched as the script itself."""

from __future__ import annotations

import multiprocessing.process
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Watched:
    """What a process runs, under the doctor; picklable where the target is."""

    target: Callable[..., Any]
    folder: Path
    settings: dict[str, Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from crossent.torch.doctor.context import doctor
        from crossent.torch.doctor.log import Log

        log = Log(self.folder)
        with doctor(**self.settings) as report:
            report.on_change(lambda: log.tell(report))
            try:
                return self.target(*args, **kwargs)
            finally:
                log.tell(report)


@contextmanager
def following(folder: Path, settings: dict[str, Any]) -> Iterator[None]:
    """Watch what the script's own processes run, but for the workers that load data."""
    base: Any = multiprocessing.process.BaseProcess
    start = base.start
    parent = os.getpid()

    def start_watched(process: Any) -> None:
        target = getattr(process, "_target", None)
        loads = getattr(target, "__module__", "").startswith(("torch.utils.data", "multiprocessing"))
        if target is not None and not loads and os.getpid() == parent:
            process._target = Watched(target, folder, settings)
        start(process)

    base.start = start_watched
    try:
        yield
    finally:
        base.start = start
