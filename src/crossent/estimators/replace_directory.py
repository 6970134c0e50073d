"""Put a whole directory in place at once, also where there was one before."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def replace_directory(
    directory: Path, files: Mapping[str, bytes], *, may_replace: Callable[[Path], bool]
) -> None:
    """Write files to a new directory beside ``directory``, then give it that name.

    Where one was before, the two swap names in one step on Linux; elsewhere the old one is renamed first, and
    renamed back should the new one not take its place. At every moment the old or the new one is on disk,
    complete.

    Raises
    ------
    FileExistsError
        If ``directory`` is there, is not empty, and ``may_replace`` says no.
    """
    directory = Path(os.path.abspath(directory))
    _refuse_to_overwrite(directory, may_replace)
    directory.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, data in files.items():
            _write(new / name, data)
        new.chmod(0o777 & ~_umask())
        if directory.exists():
            _swap(new, directory)
        else:
            new.rename(directory)
    finally:
        # After a swap this is the old directory, after a failure the unfinished new one.
        shutil.rmtree(new, ignore_errors=True)


def _refuse_to_overwrite(directory: Path, may_replace: Callable[[Path], bool]) -> None:
    if not os.path.lexists(directory):
        return
    if directory.is_symlink() or not directory.is_dir():
        raise FileExistsError(f"{directory} is no directory: expected a new name, or a model to replace")
    if any(directory.iterdir()) and not may_replace(directory):
        raise FileExistsError(f"{directory} holds other files than a model's: it is left alone")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        # The rename must not reach the disk before the data does.
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _swap(new: Path, old: Path) -> None:
    if _exchange(new, old):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{old.name}.", dir=old.parent)) / old.name
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    done: int = rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return done == 0
