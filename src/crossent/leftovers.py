"""What a process that was killed left behind under a temporary name, told from what another is still writing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A name that is younger may belong to a process that has not locked it yet.
SECONDS = 60.0


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Mark a file or folder as in use: the system forgets the mark when the process ends, however it ends."""
    handle = os.open(path, os.O_RDONLY)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def left_over(folder: Path, start: str, end: str, length: int) -> list[Path]:
    """Return what a process that is no more has left in a folder: names of this start, end and length."""
    return [
        path
        for path in folder.iterdir()
        if len(path.name) == length and path.name.startswith(start) and path.name.endswith(end) and _is_abandoned(path)
    ]


def _is_abandoned(path: Path) -> bool:
    try:
        if path.is_symlink() or time.time() - path.stat().st_mtime < SECONDS:
            return False
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
