"""Rows of a file that cannot be used, left out and counted in the place of an error at the first of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.errors import DataError
from crossent.ranks import Ranks

# A column is numbers, with mistakes among them, from this share of numbers on.
MOSTLY = 0.9
_SHOWN = 3


@dataclass
class BadRows:
    """What is wrong with the rows left out of one file, by row; the first problem of a row is kept."""

    path: str
    problems: dict[int, DataError] = field(default_factory=dict)
    _forgotten: int = 0

    def add(self, row: int, problem: str, column: str | None = None) -> None:
        self.problems.setdefault(row, DataError(problem, path=self.path, column=column, row=row))

    def without_ragged(self, rows: NDArray[np.int64], ragged: Mapping[int, str]) -> NDArray[np.int64]:
        """Note the rows that are ragged, and return the others."""
        for row, problem in ragged.items():
            self.add(row, problem)
        return np.setdiff1d(rows, list(ragged)) if ragged else rows

    def take_over(self, batch: BadRows) -> None:
        """Count the bad rows of a later batch of the file; only the first few of all are kept."""
        self._forgotten += len(batch)
        for row in sorted(batch.problems)[: _SHOWN - len(self.problems)] if len(self.problems) < _SHOWN else ():
            self.problems[row] = batch.problems[row]
            self._forgotten -= 1

    def share(self, ranks: Ranks) -> None:
        """Count the bad rows of all processes, which hold the file's rows one after another."""
        first = [(error.problem, error.column, row) for row, error in sorted(self.problems.items())[:_SHOWN]]
        told = ranks.gather_json({"first": first, "count": len(self)})
        self.problems.clear()
        self._forgotten = sum(part["count"] for part in told)
        for problem, column, row in [each for part in told for each in part["first"]][:_SHOWN]:
            self.add(row, problem, column)
            self._forgotten -= 1

    def __len__(self) -> int:
        return len(self.problems) + self._forgotten

    def note(self) -> str | None:
        """Return a sentence with their number and the first of them, or None where every row is good."""
        if not len(self):
            return None
        first = [str(self.problems[row]) for row in sorted(self.problems)[:_SHOWN]]
        more = f"; and {len(self) - _SHOWN} more" if len(self) > _SHOWN else ""
        rows = "1 bad row" if len(self) == 1 else f"{len(self)} bad rows"
        return f"{rows} left out: {'; '.join(first)}{more}"


def without_bad_values(
    frame: pl.DataFrame,
    rows: NDArray[np.int64],
    bad: BadRows,
    *,
    label: str | None,
    label_probs: Sequence[str],
    weight: str | None,
    as_text: Collection[str],
    mostly_numbers: Collection[str] | None = None,
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return the frame and its row numbers without the rows that have a value that no training can use.

    That is a missing label; a weight or a probability that is none; infinity; text in a column that is numbers in
    nine rows of ten or more, which is a column of numbers then; of a batch, ``mostly_numbers`` says which those are.
    """
    good = np.ones(frame.height, np.bool_)
    numbers: list[pl.Series] = []
    for column in frame.iter_columns():
        if column.name == label:
            mask, what = column.is_null(), "the row has no label"
        elif column.name == weight or column.name in label_probs:
            number = column.cast(pl.Float64, strict=False)
            mask = ~((number >= 0) & number.is_finite()).fill_null(False)
            what = "{!r} is no " + ("sample weight" if column.name == weight else "probability")
            numbers.append(number.alias(column.name))
        elif column.name in as_text or not (column.dtype == pl.String or column.dtype.is_numeric()):
            continue
        else:
            number = column.cast(pl.Float64, strict=False)
            text = (number.is_null() & column.is_not_null()).fill_null(False)
            present = column.len() - column.null_count()
            words = present == 0 or text.sum() > (1 - MOSTLY) * present
            if column.dtype == pl.String and (words if mostly_numbers is None else column.name not in mostly_numbers):
                continue
            mask, what = text | number.is_infinite().fill_null(False), "{!r} is not a finite number"
            if column.dtype == pl.String:
                numbers.append(number.alias(column.name))
        for index in mask.arg_true():
            bad.add(int(rows[index]), what.format(column[index]), column.name)
        good &= ~mask.to_numpy()
    return frame.with_columns(numbers).filter(good), rows[good]
