"""The calls that write to a disk, each made to fail once in turn."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossent import replace_directory

CALLS = ("open", "mkdir", "rename", "replace", "fsync", "unlink", "rmdir", "chmod")
WRITES = frozenset("wax+")


class Faults:
    """Counts the calls below a folder that write, and makes the k-th raise an OSError."""

    def __init__(self, fail_at: int, code: int) -> None:
        self.fail_at, self.code, self.count, self.failed = fail_at, code, 0, ""

    def point(self, name: str) -> None:
        self.count += 1
        if self.count == self.fail_at:
            self.failed = name
            raise OSError(self.code, os.strerror(self.code), name)


class FaultyFile:
    """A file opened for writing whose writes count."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data: Any) -> int:
        self._faults.point("write")
        return self._file.write(data)

    def flush(self) -> None:
        self._faults.point("flush")
        self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def installed(patch: pytest.MonkeyPatch, faults: Faults) -> None:
    """Replace the functions that everything in Python writes through."""

    def faulty(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            faults.point(name)
            return real(*arguments, **options)

        return call

    for name in CALLS:
        patch.setattr(os, name, faulty(name, getattr(os, name)))
    real_open = io.open

    def open_file(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not WRITES & set(mode):
            return real_open(file, mode, *arguments, **options)
        faults.point("open")
        return FaultyFile(real_open(file, mode, *arguments, **options), faults)

    patch.setattr(io, "open", open_file)
    patch.setattr(builtins, "open", open_file)
    exchange = replace_directory._exchange

    def swap(one: Path, other: Path) -> bool:
        faults.count += 1
        # What the system says where it cannot swap.
        return False if faults.count == faults.fail_at else exchange(one, other)

    patch.setattr(replace_directory, "_exchange", swap)


def each_fault(action: Callable[[], object], code: int) -> Iterator[tuple[str, OSError | None]]:
    """Do something with its first call that writes failing, its second, and so on until none fails any more."""
    for k in range(1, 500):
        problem = None
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(k, code)
            installed(patch, faults)
            try:
                action()
            except OSError as error:
                problem = error
        yield faults.failed, problem
        if faults.count < k:
            assert k > 3, "nothing was written through Python"
            return
    raise AssertionError("never came to an end")
