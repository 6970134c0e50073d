"""The state of a run on many ranks: a directory per checkpoint, a shard per rank, and last of all the manifest."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as dump_tensors
from scipy.sparse import issparse

from crossent.errors import DataError
from crossent.estimators.checkpoints import (
    BLOCK_ROWS,
    SECONDS_BETWEEN,
    RunDiffers,
    refuse_another_run,
    restore_generator,
)
from crossent.ranks import Ranks
from crossent.stored import MISFITS, parse_tensors, read_bytes, read_json, sha256
from crossent.training import Examples
from crossent.training.state import Snapshot

MANIFEST, PREFIX = "manifest.json", "step-"
FORMAT, FORMAT_VERSION = "crossent-sharded-checkpoint", 1
KEPT = 2


class SpreadCheckpoints:
    """Keeps the last states of a run; a later run of the same rows and parameters, on any number of ranks, goes on.

    All ranks see one directory. A checkpoint without its manifest, or one whose files do not have the checksums that
    the manifest says, is none: the one before it is taken.

    Parameters
    ----------
    directory : path-like
    run : mapping of str to str
        What the run is of, by name; a state of another is refused with the names that differ.
    rng : Generator
        As it is before the run draws from it. Where there is a state it is put to where that run began.
    ranks : Ranks
    """

    def __init__(self, directory: str | Path, run: Mapping[str, str], rng: np.random.Generator, ranks: Ranks) -> None:
        self.directory, self.run, self._ranks = Path(directory), dict(run), ranks
        self._stored = ranks.together(self._newest)
        if self._stored is not None:
            ranks.agree("the step of the newest checkpoint", self._stored.values["optimizer"]["steps"])
            restore_generator(rng, self._stored.values, self.directory)
        self._begin = rng.bit_generator.state
        self._last: Snapshot | None = None
        self._written = time.monotonic()

    def load(self) -> Snapshot | None:
        """Return the state that was found."""
        return self._stored

    def offer(self, take: Callable[[], Snapshot]) -> None:
        """Keep the state, and write it if the last one written is some seconds old by the first rank's clock."""
        self._last = take().copy()
        due = np.array([time.monotonic() - self._written >= SECONDS_BETWEEN and self._ranks.rank == 0], np.int64)
        self._ranks.sum(due)
        if due[0]:
            self.flush()

    def flush(self) -> None:
        """Write the last state; on all ranks together."""
        if self._last is not None:
            self._write(self._last)
            self._written = time.monotonic()

    def finish(self) -> None:
        """Delete the states: the run is over."""
        self._ranks.together(lambda: self._delete(self._steps()) if self._ranks.rank == 0 else None)

    def _write(self, state: Snapshot) -> None:
        target = self.directory / f"{PREFIX}{state.values['optimizer']['steps']:012}"
        self._ranks.together(lambda: self._make(target) if self._ranks.rank == 0 else None)
        shard = self._ranks.together(lambda: self._write_shard(target, state.arrays))
        shards = self._ranks.gather_json(shard)
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "shards": shards,
            "shapes": {name: list(array.shape) for name, array in state.arrays.items()},
            "run": self.run,
            "values": {**state.values, "begin": self._begin},
        }
        self._ranks.together(lambda: self._seal(target, document) if self._ranks.rank == 0 else None)

    @staticmethod
    def _make(target: Path) -> None:
        # What is there of this step was not sealed, or it would have been gone on from.
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)

    def _write_shard(self, target: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
        rank, size = self._ranks.rank, self._ranks.size
        own = {name: np.array_split(array.reshape(-1), size)[rank] for name, array in arrays.items()}
        data = dump_tensors({name: np.ascontiguousarray(part) for name, part in own.items()})
        name = f"shard-{rank:05}-of-{size:05}.safetensors"
        write_whole(target / name, data)
        return {"file": name, "sha256": sha256(data)}

    def _seal(self, target: Path, document: Mapping[str, Any]) -> None:
        text = json.dumps(document, indent=1, default=lambda array: array.tolist())
        write_whole(target / MANIFEST, text.encode())
        sealed = [step for step in self._steps() if (step / MANIFEST).is_file()]
        self._delete(sealed[:-KEPT])

    def _steps(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(path for path in self.directory.iterdir() if path.name.startswith(PREFIX))

    @staticmethod
    def _delete(steps: list[Path]) -> None:
        for step in steps:
            # Without its manifest it is no checkpoint any more, whatever else is still to be deleted.
            (step / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(step)

    def _newest(self) -> Snapshot | None:
        if self.directory.exists() and not self.directory.is_dir():
            raise DataError("is a file: expected a directory for the checkpoints", path=self.directory)
        problems = []
        for step in reversed(self._steps()):
            if not (step / MANIFEST).is_file():
                continue  # cut off while it was written
            try:
                found = self._read(step)
            except RunDiffers:
                raise
            except (DataError, OSError) as problem:
                problems.append(str(problem))
                continue
            if problems:
                warnings.warn(f"{'; '.join(problems)}: the checkpoint before is taken", stacklevel=2)
            return found
        if problems:
            raise DataError(f"no checkpoint is whole: {'; '.join(problems)}", path=self.directory)
        return None

    def _read(self, step: Path) -> Snapshot:
        path = step / MANIFEST
        document = read_json(path, "was cut off or altered")
        try:
            if document["format"] != FORMAT or document["format_version"] != FORMAT_VERSION:
                raise DataError(f"is no checkpoint of format version {FORMAT_VERSION}", path=path)
            parts = [self._read_shard(step, shard) for shard in document["shards"]]
            arrays = {
                name: np.concatenate([part[name] for part in parts]).reshape(shape)
                for name, shape in document["shapes"].items()
            }
            values, run = dict(document["values"]), dict(document["run"])
            # The step that every rank compares with the others'.
            int(values["optimizer"]["steps"])
        except DataError:
            raise
        except MISFITS as problem:
            raise DataError(f"was cut off or altered ({problem!r})", path=path) from problem
        refuse_another_run(run, self.run, step)
        return Snapshot(arrays, values)

    @staticmethod
    def _read_shard(step: Path, shard: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
        name = str(shard["file"])
        if Path(name).name != name:
            raise DataError(f"names a file elsewhere: {name!r}", path=step / MANIFEST)
        data = read_bytes(step / name)
        if sha256(data) != shard["sha256"]:
            raise DataError("was cut off or altered: its sha256 differs", path=step / name)
        return parse_tensors(data, step / name)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name, see it on the disk, and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def checksum(ranks: Ranks, examples: Examples) -> str:
    """Return a checksum of all ranks' rows in their order, the same however they are spread.

    A row's is the sum of its entries' bits, each times an odd number of its column, and the whole the sum of the rows'
    times an odd number of the row's place; modulo 2^64.
    """
    own = sum(_row_sums(part, seed) for seed, part in enumerate(_parts(examples)))
    counts = np.zeros(ranks.size, np.int64)
    counts[ranks.rank] = examples.n_rows
    ranks.sum(counts)
    place = np.arange(examples.n_rows, dtype=np.uint64) + np.uint64(counts[: ranks.rank].sum())
    total = (np.asarray(own, np.uint64) * (2 * place + 1)).sum(dtype=np.uint64).reshape(1).view(np.int64)
    ranks.sum(total)
    return f"{int(counts.sum())} rows {int(total.view(np.uint64)[0]):016x}"


def _parts(examples: Examples) -> list[Any]:
    parts = [examples.x, examples.labels, examples.probs, examples.sample_weight, examples.class_weight]
    rows = [part for part in parts[:4] if part is not None]
    return [part if part.ndim == 2 else part[:, None] for part in rows]


def _row_sums(rows: Any, seed: int) -> npt.NDArray[np.uint64]:
    factor = np.random.default_rng(seed).integers(0, 2**63, rows.shape[1], np.uint64) * 2 + 1
    sums = np.zeros(rows.shape[0], np.uint64)
    for start in range(0, rows.shape[0], BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        if issparse(block):
            entries = _bits(block.data) * factor[block.indices]
            running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(entries, dtype=np.uint64)])
            sums[start : start + BLOCK_ROWS] = np.diff(running[block.indptr])
        else:
            sums[start : start + BLOCK_ROWS] = (_bits(block) * factor).sum(axis=1, dtype=np.uint64)
    return sums


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    plain = np.ascontiguousarray(values)
    return plain.view(np.dtype(f"u{plain.itemsize}")).astype(np.uint64)
