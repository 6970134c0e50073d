"""What a column of a table becomes, decided by all its training values, which may come in batches."""

from __future__ import annotations

from typing import Any

import polars as pl

from crossent.data.bad_rows import MOSTLY
from crossent.data.columns import Category, Number, as_numbers, as_text, refuse_infinite
from crossent.data.dataset import Dataset
from crossent.data.summaries import Numbers, Values
from crossent.errors import DataError

# Counts of more values than this take too much memory, and nothing has so many categories.
MOST_VALUES = 2**20
_DATE = r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b|^\d{1,2}:\d{2}(:\d{2})?$"
_DATE_ADVICE = (
    "holds dates or times: turn them into numbers first, such as year, month, weekday, hour or days since "
    "a fixed day (in polars: pl.col({name!r}).dt.weekday()), or leave the column out with --drop {option}"
)
Decision = tuple[Number | Category | None, str | None]


class NumberFit:
    """A column of numbers on the way to a `Number`."""

    def __init__(self, column: pl.Series, path: str) -> None:
        self.name, self.path = column.name, path
        self.is_whole = column.dtype.is_integer()
        self.numbers = Numbers()

    def add(self, column: pl.Series, dataset: Dataset) -> None:
        numbers = as_numbers(column, dataset)
        refuse_infinite(numbers, dataset)
        self.numbers.add(numbers, column, dataset.rows)

    def told(self) -> dict[str, Any]:
        """Return what was seen, as JSON has it."""
        return self.numbers.told()

    def take_over(self, parts: list[dict[str, Any]]) -> None:
        """See what processes have told, in the order of their rows, in place of what was seen here."""
        self.numbers = Numbers()
        for part in parts:
            self.numbers.take_over(part)

    def decide(self) -> Decision:
        seen = self.numbers
        if seen.count == 0 or (not seen.missing and seen.low == seen.high):
            return None, _left_out(self.name, seen.largest[0] if seen.count else None)
        std = seen.std if seen.low < seen.high else 1.0
        if not (abs(seen.mean) < float("inf") and std < float("inf")):
            value, row = seen.largest
            problem = f"{value!r} is too large to standardise"
            raise DataError(problem, path=self.path, column=self.name, row=row)
        note = None
        if self.is_whole and not seen.missing and seen.count > 20 and seen.counts_rows:
            note = f"column {self.name!r} counts the rows: an identifier? Then use --drop {_quoted(self.name)}"
        return Number(self.name, seen.mean, std, seen.missing > 0), note


class CategoryFit:
    """A column of text, truths or named numbers on the way to a `Category`."""

    def __init__(self, column: pl.Series, path: str, *, categorical: bool, max_levels: int) -> None:
        self.name, self.path, self.max_levels = column.name, path, max_levels
        self.is_text = column.dtype == pl.String
        self._may_be_other = self.is_text and not categorical
        self.values = Values()
        self._no_number: tuple[Any, int] | None = None

    def add(self, column: pl.Series, dataset: Dataset) -> None:
        text = as_text(column, dataset)
        values = self.values.add(text)
        if self.values.counts.height > MOST_VALUES:
            problem = f"has more than {MOST_VALUES} different values: {_leave_out(self.name)}, or take it for --text"
            raise DataError(problem, path=self.path, column=self.name)
        if self._may_be_other and self._no_number is None and values.cast(pl.Float64, strict=False).null_count():
            at = int((text.cast(pl.Float64, strict=False).is_null() & text.is_not_null()).arg_true()[0])
            self._no_number = text[at], int(dataset.rows[at])

    def told(self) -> dict[str, Any]:
        """Return what was seen, as JSON has it."""
        return {"values": self.values.told(), "no number": self._no_number}

    def take_over(self, parts: list[dict[str, Any]]) -> None:
        """See what processes have told, in the order of their rows, in place of what was seen here."""
        self.values = Values()
        for part in parts:
            self.values.take_over(part["values"])
        self._no_number = next((tuple(part["no number"]) for part in parts if part["no number"]), None)

    def decide(self) -> Decision:
        values, present = self.values, self.values.count
        if self._may_be_other and present and self._n(pl.col("value").str.contains(_DATE)) >= MOSTLY * present:
            raise _dates(self.name, self.path)
        self._refuse_text_among_numbers()
        n_levels, missing = values.counts.height, values.missing > 0
        if n_levels == 0 or (n_levels == 1 and not missing):
            return None, _left_out(self.name, values.counts[0, 0] if n_levels else None)
        if n_levels > 50 and n_levels > present / 2:
            problem = (
                f"has {n_levels} different values in {present} rows: an identifier says nothing about other "
                f"rows; {_leave_out(self.name)}"
            )
            raise DataError(problem, path=self.path, column=self.name)
        ordered = values.counts.sort(["count", "value"], descending=[True, False])["value"].to_list()
        kept = tuple(sorted(ordered[: self.max_levels]))
        note = None
        if n_levels > self.max_levels:
            rare = n_levels - self.max_levels
            note = f'column {self.name!r} has {n_levels} categories: the rarest {rare} share the level "(other)"'
        return Category(self.name, kept, n_levels > self.max_levels, missing, self.is_text), note

    def _n(self, condition: pl.Expr) -> int:
        """Return how many of the values meet a condition."""
        return int(self.values.counts.filter(condition)["count"].sum())

    def _refuse_text_among_numbers(self) -> None:
        present = self.values.count
        if self._no_number is None:
            return
        n_numbers = self._n(pl.col("value").cast(pl.Float64, strict=False).is_not_null())
        if n_numbers < MOSTLY * present:
            return
        value, row = self._no_number
        problem = (
            f"{value!r} is not a number, as {n_numbers} of the column's {present} values are: "
            f"mend it, declare it missing (--missing {_quoted(value)}) or the column "
            f"categorical (--categorical {_quoted(self.name)})"
        )
        raise DataError(problem, path=self.path, column=self.name, row=row)


def begin_fit(column: pl.Series, path: str, *, categorical: bool, max_levels: int) -> NumberFit | CategoryFit:
    """Return what gathers the values of a column of this name and type."""
    if column.dtype.is_temporal():
        raise _dates(column.name, path)
    if column.dtype.is_numeric() and not categorical:
        return NumberFit(column, path)
    return CategoryFit(column, path, categorical=categorical, max_levels=max_levels)


def _dates(name: str, path: str) -> DataError:
    return DataError(_DATE_ADVICE.format(name=name, option=_quoted(name)), path=path, column=name)


def _left_out(name: str, value: object) -> str:
    shown = "only missing values" if value is None else f"the one value {value}"
    return f"column {name!r} holds {shown}: left out"


def _leave_out(name: str) -> str:
    return f"leave the column out with --drop {_quoted(name)}"


def _quoted(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else f"'{name}'"
