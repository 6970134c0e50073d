"""The state of a run in a directory: tensors as safetensors, the rest as JSON; nothing in it can run code."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as dump_tensors
from scipy.sparse import issparse

from crossent.errors import DataError
from crossent.replace_directory import delete_directory, replace_directory
from crossent.stored import MISFITS, parse_tensors, read_bytes, read_json, sha256
from crossent.training.state import Snapshot

ARRAYS, STATE = "state.safetensors", "state.json"
FORMAT, FORMAT_VERSION = "crossent-checkpoint", 1
SECONDS_BETWEEN = 10.0
BLOCK_ROWS = 4096


class CheckpointDirectory:
    """Keeps the last state of a run; a later run of the same data and parameters goes on from it.

    Parameters
    ----------
    directory : path-like
    run : mapping of str to str
        What the run is of, by name; a state of another is refused with the names that differ.
    rng : Generator
        As it is before the run draws from it. Where there is a state it is put to where that run began.
    """

    def __init__(self, directory: str | Path, run: Mapping[str, str], rng: np.random.Generator) -> None:
        self.directory, self.run = Path(directory), dict(run)
        self._stored = self._read()
        if self._stored is not None:
            restore_generator(rng, self._stored.values, self.directory / STATE)
        self._begin = rng.bit_generator.state
        self._last: Snapshot | None = None
        self._written = time.monotonic()

    def load(self) -> Snapshot | None:
        """Return the state that was found."""
        return self._stored

    def offer(self, take: Callable[[], Snapshot]) -> None:
        """Keep the state in memory, and write it if the last one written is some seconds old."""
        self._last = take().copy()
        # When it is written has no influence on the run.
        if time.monotonic() - self._written >= SECONDS_BETWEEN:
            self.flush()

    def flush(self) -> None:
        """Write the last state."""
        if self._last is None:
            return
        arrays = dump_tensors({name: np.ascontiguousarray(array) for name, array in self._last.arrays.items()})
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "sha256": sha256(arrays),
            "run": self.run,
            "values": {**self._last.values, "begin": self._begin},
        }
        # Infinity is Python's own in JSON; a loss that nobody has seen yet is one. Some generators' states are arrays.
        state = json.dumps(document, indent=1, default=lambda array: array.tolist()).encode()
        replace_directory(self.directory, {ARRAYS: arrays, STATE: state}, may_replace=is_checkpoint)
        self._written = time.monotonic()

    def finish(self) -> None:
        """Delete the state: the run is over."""
        if is_checkpoint(self.directory):
            delete_directory(self.directory, {STATE, ARRAYS})

    def _read(self) -> Snapshot | None:
        path = self.directory / STATE
        if self.directory.exists() and not self.directory.is_dir():
            raise DataError("is a file: expected a directory for the checkpoint", path=self.directory)
        if not path.exists():
            if self.directory.is_dir() and any(self.directory.iterdir()):
                raise DataError("holds other files and no checkpoint: expected a new directory", path=self.directory)
            return None
        document = read_json(path, "was cut off or altered")
        try:
            if document["format"] != FORMAT or document["format_version"] != FORMAT_VERSION:
                raise DataError(f"is no checkpoint of format version {FORMAT_VERSION}", path=path)
            refuse_another_run(dict(document["run"]), self.run, self.directory)
            data = read_bytes(self.directory / ARRAYS)
            if sha256(data) != document["sha256"]:
                raise DataError("was cut off or altered: its sha256 differs", path=self.directory / ARRAYS)
            return Snapshot(parse_tensors(data, self.directory / ARRAYS), dict(document["values"]))
        except DataError:
            raise
        except MISFITS as problem:
            raise DataError(f"was cut off or altered ({problem!r})", path=path) from problem


class RunDiffers(DataError):
    """A whole checkpoint, but of another run."""


def refuse_another_run(stored: Mapping[str, str], run: Mapping[str, str], path: Path) -> None:
    """Raise RunDiffers unless a checkpoint is of this run, naming the first thing that differs."""
    for name in {**stored, **run}:
        was, now = stored.get(name), run.get(name)
        if was != now:
            raise RunDiffers(
                f"is the checkpoint of another run: {name} was {was}, and is {now} now. Delete the directory to begin "
                "anew, or give another one",
                path=path,
            )


def is_checkpoint(directory: Path) -> bool:
    """Whether a directory holds a checkpoint."""
    try:
        return bool(read_json(directory / STATE).get("format") == FORMAT)
    except (OSError, DataError):
        return (directory / STATE).is_file() and (directory / ARRAYS).is_file()


def restore_generator(rng: np.random.Generator, values: Mapping[str, Any], path: Path) -> None:
    """Put a generator to where the stored run began."""
    try:
        rng.bit_generator.state = values["begin"]
    except MISFITS as problem:
        raise DataError(f"holds no state of the random numbers ({problem!r})", path=path) from problem


def digest(*arrays: Any) -> str:
    """Return a checksum of the arrays' shapes, types and values, read in blocks of rows."""
    total = 0
    for array in arrays:
        if issparse(array):
            total = zlib.crc32(digest(array.data, array.indices, array.indptr).encode(), total)
            continue
        if array is None:
            total = zlib.crc32(b"none", total)
            continue
        values = np.asarray(array)
        total = zlib.crc32(f"{values.shape} {values.dtype}".encode(), total)
        for start in range(0, len(values), BLOCK_ROWS):
            block = values[start : start + BLOCK_ROWS]
            raw = np.ascontiguousarray(block) if block.dtype.kind in "biuf" else np.array(block.tolist(), dtype=str)
            total = zlib.crc32(raw.data if raw.dtype.kind in "biuf" else raw.tobytes(), total)
    return f"{total:08x}"
