"""Batches of rows from anywhere: an iterable, a function that opens one, or Parquet files larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crossent.errors import DataError, invalid_type, invalid_value

# A block of a Parquet file has about so many numbers, from so many places of the data.
BLOCK_VALUES = 2**23
PLACES = 4


class Batch(NamedTuple):
    """Rows, their truth, and their weights or None."""

    x: Any
    y: Any
    weight: Any = None


class Batches:
    """Batches that can be read again and again, in the same order each time.

    Attributes
    ----------
    once : bool
        Whether they can be read only once.
    """

    def __init__(self, batches: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        self.once = isinstance(batches, Iterator)
        self._batches = batches

    def read(self, seed: int | None = None) -> Iterator[Batch]:
        """Yield the batches."""
        opened = self._batches() if callable(self._batches) else self._batches
        if not isinstance(opened, Iterable):
            raise invalid_type("batches", opened, "an iterable of (X, y) or (X, y, sample_weight)")
        for at, batch in enumerate(opened):
            if not isinstance(batch, Sequence) or len(batch) not in (2, 3):
                raise invalid_type(f"batches[{at}]", batch, "a tuple (X, y) or (X, y, sample_weight)")
            yield Batch(*batch)


class ParquetBatches:
    """The rows of Parquet files, block by block; the blocks come in another order for each seed.

    Parameters
    ----------
    path : path-like
        A file, or a directory with files that end in ``.parquet``, in it or below.
    label : str or sequence of str
        The column of the labels, or the columns of the classes' probabilities.
    sample_weight : str, optional
    """

    once = False

    def __init__(self, path: str | Path, label: str | Sequence[str] | None, sample_weight: str | None) -> None:
        import polars as pl

        self.files = self._find(Path(path))
        schema = pl.scan_parquet(self.files[0]).collect_schema()
        if label is None:
            raise ValueError("label = None: expected the column of the labels, or the columns of probabilities")
        self.label, self.weight = label, sample_weight
        labels = [label] if isinstance(label, str) else list(label)
        for name in [*labels, *([sample_weight] if sample_weight else [])]:
            if name not in schema:
                raise DataError(f"there is no such column: expected one of {schema.names()}", path=path, column=name)
        self.features = [name for name in schema.names() if name not in (*labels, sample_weight)]
        for name in self.features:
            if not (schema[name].is_numeric() or schema[name] == pl.Boolean):
                raise DataError(f"holds {schema[name]}: expected numbers", path=path, column=name)
        self._blocks = self._divide(max(PLACES, BLOCK_VALUES // max(len(self.features), 1)))

    @staticmethod
    def _find(path: Path) -> list[Path]:
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not files:
            raise DataError("is a directory without a .parquet file", path=path)
        if not files[0].exists():
            raise FileNotFoundError(f"{path}: there is no such file or directory")
        return files

    def _divide(self, rows: int) -> list[list[tuple[Path, int, int]]]:
        """Return the slices (file, first row, rows) of each block: from far apart, for files are often sorted."""
        import polars as pl

        slices = []
        for file in self.files:
            n = int(pl.scan_parquet(file).select(pl.len()).collect().item())
            parts = -(-n * PLACES // rows)
            bounds = np.arange(parts + 1) * n // max(parts, 1)
            slices += [(file, int(begin), int(end - begin)) for begin, end in pairwise(bounds)]
        n_blocks = -(-len(slices) // PLACES)
        return [slices[at::n_blocks] for at in range(n_blocks)]

    def read(self, seed: int | None = None) -> Iterator[Batch]:
        """Yield the blocks; None gives the order that they are in."""
        import polars as pl

        order = np.arange(len(self._blocks))
        if seed is not None:
            order = np.random.default_rng([seed, 1]).permutation(len(self._blocks))
        for at in order:
            parts = [pl.scan_parquet(file).slice(begin, n).collect() for file, begin, n in self._blocks[at]]
            table = pl.concat(parts)
            weight = None if self.weight is None else table[self.weight].to_numpy()
            yield Batch(table.select(self.features), self._truth(table), weight)

    def _truth(self, table: Any) -> Any:
        if not isinstance(self.label, str):
            return table.select(self.label).to_numpy().astype(np.float64)
        if table[self.label].null_count():
            raise DataError("has rows without a label", path=self.files[0].parent, column=self.label)
        return table[self.label].to_numpy()


def open_batches(
    batches: Any, label: str | Sequence[str] | None, sample_weight: str | None
) -> Batches | ParquetBatches:
    """Return the batches of what ``fit_stream`` is given."""
    if isinstance(batches, (str, Path)):
        return ParquetBatches(batches, label, sample_weight)
    if label is not None or sample_weight is not None:
        raise invalid_value("label", label, "None: only Parquet files have columns to name")
    if not callable(batches) and not isinstance(batches, Iterable):
        raise invalid_type(
            "batches", batches, "an iterable of (X, y), a function that returns one, or the path of Parquet files"
        )
    return Batches(batches)
