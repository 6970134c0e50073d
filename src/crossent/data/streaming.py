"""A table in batches of rows, of which one at a time is in memory; every pass gives the same ones."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.bad_rows import MOSTLY, BadRows, without_bad_values
from crossent.data.csv_text import PIECE_BYTES, CsvText
from crossent.data.dataset import Dataset, table_dataset
from crossent.data.tables import ARROW, CSV, PARQUET, UNREADABLE, existing_file, first_line, table_suffix
from crossent.errors import DataError, invalid_value

BATCH_ROWS = 2**16


@dataclass
class _Seen:
    """What the first pass found in a column of a CSV: in how many rows it has a value, and in how many a number."""

    present: int = 0
    numbers: int = 0
    dtype: pl.DataType | None = None
    hides_numbers: bool = False

    def add(self, column: pl.Series, *, hides_numbers: bool) -> None:
        present = column.len() - column.null_count()
        if not present:
            return
        self.present += present
        if column.dtype == pl.String:
            self.numbers += int(column.cast(pl.Float64, strict=False).is_not_null().sum())
        elif column.dtype.is_numeric():
            self.numbers += present
        self.hides_numbers |= hides_numbers
        dtype = pl.Float64() if hides_numbers else column.dtype
        if self.dtype not in (None, dtype):
            # What polars makes of a column that holds both.
            dtype = pl.Float64() if dtype.is_numeric() and self.dtype.is_numeric() else pl.String()
        self.dtype = dtype


@dataclass
class TableStream:
    """The rows of a CSV, Parquet or Arrow file, batch by batch.

    Attributes
    ----------
    path : path-like
    label, label_probs, weight, drop, text_columns, missing
        As in `read_dataset`.
    skip_bad_rows : bool
        Leave out what cannot be used; else the first such row is an error.
    piece_bytes : int
        How much of a CSV makes a batch.
    n_rows : int
        Of the file, once `survey` has been called.
    """

    path: str | Path
    label: str | None = None
    label_probs: Sequence[str] = ()
    weight: str | None = None
    drop: Collection[str] = ()
    text_columns: Collection[str] = ()
    missing: Collection[str] = ()
    skip_bad_rows: bool = False
    piece_bytes: int = PIECE_BYTES
    n_rows: int = 0
    _csv: CsvText | None = None
    _types: dict[str, pl.DataType] | None = None
    _numbers: list[str] = field(default_factory=list)
    _mostly_numbers: set[str] | None = None

    @staticmethod
    def takes(data: str | Path) -> bool:
        """Whether the name is one of a file that can be read in batches."""
        return table_suffix(Path(data)) in (*CSV, *PARQUET, *ARROW)

    def __post_init__(self) -> None:
        path = existing_file(self.path)
        suffix = table_suffix(path)
        if not self.takes(path):
            raise invalid_value("--stream", str(self.path), "a CSV, Parquet or Arrow file: others are read whole")
        if suffix in CSV:
            # Labels are names: read as text, "007" of one file and of the next stay the same class.
            text = {*self.text_columns, *([self.label] if self.label is not None else [])}
            errors = "replace" if self.skip_bad_rows else "strict"
            self._csv = CsvText.of(path, text, self.missing, errors=errors)

    def survey(self) -> None:
        """Count the rows, and find the types that the columns have over the whole of a CSV."""
        if self._csv is None:
            try:
                self.n_rows = int(self._scan().select(pl.len()).collect().item())
            except UNREADABLE as error:
                raise DataError(first_line(error), path=self.path) from error
        else:
            seen = {name: _Seen() for name in self._csv.names}
            ragged: dict[int, str] = {}
            for frame, rows in self._csv_frames(ragged, look_for_short_rows=True):
                self.n_rows = int(rows[-1])
                ragged.clear()
                for column in frame.iter_columns():
                    seen[column.name].add(column, hides_numbers=self._csv.hides_numbers(column))
            self._settle(seen)
        if self.n_rows == 0:
            raise DataError("holds no rows", path=self.path)

    def batches(self, bad_rows: BadRows | None = None) -> Iterator[Dataset]:
        """Yield the rows; ``bad_rows``, where given, takes those that are left out."""
        for frame, rows, ragged in self._frames():
            batch_bad = BadRows(str(self.path))
            if self.skip_bad_rows:
                rows = batch_bad.without_ragged(rows, ragged)
                frame, rows = without_bad_values(
                    frame,
                    rows,
                    batch_bad,
                    label=self.label,
                    label_probs=self.label_probs,
                    weight=self.weight,
                    as_text={*self.text_columns, *self.drop, *([self.label] if self.label else [])},
                    mostly_numbers=self._mostly_numbers,
                )
            if bad_rows is not None:
                bad_rows.take_over(batch_bad)
            if frame.height:
                yield table_dataset(
                    str(self.path),
                    frame,
                    rows,
                    label=self.label,
                    label_probs=self.label_probs,
                    weight=self.weight,
                    drop=self.drop,
                )

    def _settle(self, seen: dict[str, _Seen]) -> None:
        assert self._csv is not None
        self._types = {}
        for name, column in seen.items():
            dtype = pl.String() if column.dtype is None or name in self._csv.text_columns else column.dtype
            as_text = column.hides_numbers and dtype == pl.Float64
            if as_text:
                self._numbers.append(name)
            self._types[name] = pl.String() if as_text else dtype
        self._mostly_numbers = {
            name for name, column in seen.items() if column.present and column.numbers >= MOSTLY * column.present
        }

    def _frames(self) -> Iterator[tuple[pl.DataFrame, NDArray[np.int64], dict[int, str]]]:
        if self._csv is not None:
            ragged: dict[int, str] = {}
            for frame, rows in self._csv_frames(ragged, look_for_short_rows=self._types is None):
                yield frame, rows, ragged
                ragged.clear()
            return
        row = 0
        try:
            for frame in self._scan().collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                yield frame, np.arange(row + 1, row + frame.height + 1), {}
                row += frame.height
        except UNREADABLE as error:
            raise DataError(first_line(error), path=self.path) from error

    def _scan(self) -> pl.LazyFrame:
        return (
            pl.scan_parquet(self.path, glob=False)
            if table_suffix(Path(self.path)) in PARQUET
            else pl.scan_ipc(self.path)
        )

    def _csv_frames(
        self, ragged: dict[int, str], *, look_for_short_rows: bool = False
    ) -> Iterator[tuple[pl.DataFrame, NDArray[np.int64]]]:
        """Yield frames and the numbers of all rows that they were made of, those that are ragged among them."""
        assert self._csv is not None
        text, row = self._csv, 0
        try:
            for piece in text.pieces(self.piece_bytes):
                before = len(ragged)
                try:
                    source = text.even_rows(ragged, piece, rows_before=row) if self.skip_bad_rows else piece
                    frame = text.parse(source, self._types)
                except pl.exceptions.PolarsError as error:
                    text.find_ragged_row(piece, short_rows=False, rows_before=row)
                    raise text.problem(error) from error
                if look_for_short_rows and not self.skip_bad_rows and frame.height and frame[:, -1].null_count():
                    text.find_ragged_row(piece, short_rows=True, rows_before=row)
                n = frame.height + len(ragged) - before
                if n:
                    yield (
                        frame.with_columns(pl.col(self._numbers).cast(pl.Float64, strict=False)),
                        np.arange(row + 1, row + n + 1),
                    )
                row += n
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(first_line(error), path=self.path) from error
