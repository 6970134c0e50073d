"""A table in batches of rows, of which one at a time is in memory; every pass gives the same ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.bad_rows import MOSTLY, BadRows, without_bad_values
from crossent.data.csv_text import PIECE_BYTES, CsvText
from crossent.data.dataset import Dataset, table_dataset
from crossent.data.tables import ARROW, CSV, PARQUET, UNREADABLE, existing_file, first_line, table_suffix
from crossent.errors import DataError, invalid_value
from crossent.ranks import Ranks

BATCH_ROWS = 2**16
T = TypeVar("T")


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
        self._meet(pl.Float64() if hides_numbers else column.dtype, hides_numbers=hides_numbers)

    def _meet(self, dtype: pl.DataType, *, hides_numbers: bool) -> None:
        self.hides_numbers |= hides_numbers
        if self.dtype not in (None, dtype):
            # What polars makes of a column that holds both.
            dtype = pl.Float64() if dtype.is_numeric() and self.dtype.is_numeric() else pl.String()
        self.dtype = dtype

    def told(self) -> tuple[int, int, str | None, bool]:
        """Return this as JSON has it."""
        return self.present, self.numbers, None if self.dtype is None else str(self.dtype), self.hides_numbers

    def merge(self, present: int, numbers: int, dtype: str | None, hides_numbers: bool) -> None:
        """Take in what another process has told."""
        self.present, self.numbers = self.present + present, self.numbers + numbers
        if dtype is not None:
            self._meet(getattr(pl, dtype)(), hides_numbers=hides_numbers)


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
    ranks : Ranks, optional
        The processes that read a part each, one after another in the file; all call the methods together. What is found
        over the whole file is found over all of them.
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
    ranks: Ranks | None = None
    _csv: CsvText | None = None
    _types: dict[str, pl.DataType] | None = None
    _numbers: list[str] = field(default_factory=list)
    _mostly_numbers: set[str] | None = None
    _span: tuple[int, int] | None = None
    _before: int = 0

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

    def divide(self) -> bool:
        """Take this rank's part of the file; False where the file cannot be divided."""
        assert self.ranks is not None
        if self._csv is None:
            return True
        if Path(self.path).suffix.lower() == ".gz":
            return False
        self._span = self._csv.span(self.ranks)
        return self._span is not None

    def survey(self) -> None:
        """Count the rows, and find the types that the columns have over the whole of a CSV."""
        if self._csv is None:
            self.n_rows = self._together(self._count)
            if self.ranks is not None and self.skip_bad_rows:
                self._find_mostly_numbers(self._over_ranks(self._together(self._seen_in_own)))
        else:
            if self.ranks is not None:
                assert self._span is not None
                self._begin_at(self._csv.count_rows(self.piece_bytes, self._span))
            seen = self._together(self._survey_csv)
            if self.ranks is not None:
                seen = self._over_ranks(seen)
                self.n_rows = self._begin_at(self.n_rows - self._before)
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
            if frame.height or self.ranks is not None:
                yield table_dataset(
                    str(self.path),
                    frame,
                    rows,
                    label=self.label,
                    label_probs=self.label_probs,
                    weight=self.weight,
                    drop=self.drop,
                )

    def _survey_csv(self) -> dict[str, _Seen]:
        assert self._csv is not None
        seen = {name: _Seen() for name in self._csv.names}
        ragged: dict[int, str] = {}
        self.n_rows = self._before
        for frame, rows in self._csv_frames(ragged, look_for_short_rows=True):
            self.n_rows = int(rows[-1])
            ragged.clear()
            for column in frame.iter_columns():
                seen[column.name].add(column, hides_numbers=self._csv.hides_numbers(column))
        return seen

    def _together(self, work: Callable[[], T]) -> T:
        return work() if self.ranks is None else self.ranks.together(work)

    def _begin_at(self, n_own: int) -> int:
        """Number this rank's rows on from those of the ranks before; return the rows of all."""
        assert self.ranks is not None
        counts = self.ranks.gather_json(n_own)
        self._before = sum(counts[: self.ranks.rank])
        return sum(counts)

    def _over_ranks(self, seen: dict[str, _Seen]) -> dict[str, _Seen]:
        assert self.ranks is not None
        told = {name: column.told() for name, column in seen.items()}
        found = {name: _Seen() for name in seen}
        for part in self.ranks.gather_json(told):
            for name, column in part.items():
                found[name].merge(*column)
        return found

    def _count(self) -> int:
        try:
            return int(self._scan().select(pl.len()).collect().item())
        except UNREADABLE as error:
            raise DataError(first_line(error), path=self.path) from error

    def _seen_in_own(self) -> dict[str, _Seen]:
        """Return what there is to say of this rank's columns of text."""
        frame = self._own_frame()
        seen = {column.name: _Seen() for column in frame.iter_columns() if column.dtype == pl.String}
        for name, found in seen.items():
            found.add(frame[name], hides_numbers=False)
        return seen

    def _find_mostly_numbers(self, seen: dict[str, _Seen]) -> None:
        self._mostly_numbers = {
            name for name, column in seen.items() if column.present and column.numbers >= MOSTLY * column.present
        }

    def _own_frame(self) -> pl.DataFrame:
        """Return this rank's rows of a Parquet or Arrow file."""
        assert self.ranks is not None
        begin, end = (self.n_rows * at // self.ranks.size for at in (self.ranks.rank, self.ranks.rank + 1))
        self._before = begin
        return self._scan().slice(begin, end - begin).collect()

    def _settle(self, seen: dict[str, _Seen]) -> None:
        assert self._csv is not None
        self._types = {}
        for name, column in seen.items():
            dtype = pl.String() if column.dtype is None or name in self._csv.text_columns else column.dtype
            as_text = column.hides_numbers and dtype == pl.Float64
            if as_text:
                self._numbers.append(name)
            self._types[name] = pl.String() if as_text else dtype
        self._find_mostly_numbers(seen)

    def _frames(self) -> Iterator[tuple[pl.DataFrame, NDArray[np.int64], dict[int, str]]]:
        if self._csv is not None:
            ragged: dict[int, str] = {}
            for frame, rows in self._csv_frames(ragged, look_for_short_rows=self._types is None):
                yield frame, rows, ragged
                ragged.clear()
            return
        row = 0
        try:
            if self.ranks is not None:
                frame = self._own_frame()
                yield frame, np.arange(self._before + 1, self._before + frame.height + 1), {}
                return
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
        text, row = self._csv, self._before
        try:
            for piece in text.pieces(self.piece_bytes, self._span):
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
            if self.ranks is not None and row == self._before and self._types is not None:
                # A rank without rows knows their types all the same.
                yield (
                    pl.DataFrame(schema=self._types).with_columns(pl.col(self._numbers).cast(pl.Float64)),
                    np.zeros(0, np.int64),
                )
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(first_line(error), path=self.path) from error
