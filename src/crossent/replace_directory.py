"""Put a whole directory in place at once, also where there was one before."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from crossent.leftovers import in_use, left_over

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def replace_directory(directory: Path, files: Mapping[str, bytes], *, may_replace: Callable[[Path], bool]) -> None:
    """Write files to a new directory beside ``directory``, then give it that name.

    Where one was before, the two swap names in one step on Linux; elsewhere the old one is renamed first, and renamed
    back should the new one not take its place. At every moment the old or the new one is on disk, complete. Whatever
    else lay in the old one moves over. What a process left that was killed meanwhile is deleted by the next call.

    Raises
    ------
    FileExistsError
        If ``directory`` is there, is not empty, and ``may_replace`` says no.
    """
    # A link stays one: what it points to is replaced.
    directory = Path(os.path.realpath(directory))
    _refuse_to_overwrite(directory, may_replace)
    directory.parent.mkdir(parents=True, exist_ok=True)
    _clean_up(directory, set(files))
    new = _beside(directory)
    new.mkdir()
    try:
        with in_use(new):
            for name, data in files.items():
                _write(new / name, data)
            if directory.exists():
                _swap(new, directory)
                _move_others(new, directory, set(files))
            else:
                new.rename(directory)
            _sync(directory.parent)
    finally:
        # After a swap this is the old directory, after a failure the unfinished new one.
        _delete(new, set(files))


def delete_directory(directory: Path, names: set[str]) -> None:
    """Delete a directory of these files, so that it is whole or gone; where more lies in it, these files alone."""
    directory = Path(os.path.realpath(directory))
    if set(os.listdir(directory)) <= names:
        old = _beside(directory)
        directory.rename(old)
        _delete(old, names)
        return
    for name in names:
        (directory / name).unlink(missing_ok=True)


def _refuse_to_overwrite(directory: Path, may_replace: Callable[[Path], bool]) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file: expected a new name, or a model's directory to replace")
    if any(directory.iterdir()) and not may_replace(directory):
        raise FileExistsError(f"{directory} is a directory without a model in it: it is left alone")


def _clean_up(directory: Path, names: set[str]) -> None:
    like = _beside(directory).name
    for old in left_over(directory.parent, f".{directory.name}.", "", len(like)):
        if directory.is_dir():
            _move_others(old, directory, names)
        _delete(old, names)


def _delete(folder: Path, names: set[str]) -> None:
    """Delete a folder, unless something else is in it that could not be moved over: the next call does."""
    try:
        if set(os.listdir(folder)) <= names:
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        pass


def _move_others(old: Path, directory: Path, names: set[str]) -> None:
    for other in set(os.listdir(old)) - names:
        if not (directory / other).exists():
            (old / other).rename(directory / other)


def _sync(folder: Path) -> None:
    """See the names in a folder on the disk, where the system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        # The rename must not reach the disk before the data does.
        os.fsync(file.fileno())


def _swap(new: Path, old: Path) -> None:
    if _exchange(new, old):
        return
    # Of another length than what is cleaned up: should this end here, it is the only model.
    aside = _beside(old).with_suffix(".old")
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    aside.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    done: int = rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return done == 0
