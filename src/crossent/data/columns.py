"""What one column of a table becomes: standardised numbers, or one feature per category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.dataset import Dataset, number_text
from crossent.errors import DataError


@dataclass(frozen=True)
class Number:
    """A column of numbers, standardised; ``marks_missing`` adds the feature that says a value was missing."""

    name: str
    mean: float
    std: float
    marks_missing: bool

    @property
    def feature_names(self) -> list[str]:
        return [self.name, f"{self.name}=(missing)"] if self.marks_missing else [self.name]

    def encode(self, column: pl.Series, dataset: Dataset, x_out: NDArray[np.float32]) -> int:
        """Write the features; no value of a number is an unknown category, so return 0."""
        numbers = as_numbers(column, dataset)
        refuse_infinite(numbers, dataset)
        missing = numbers.is_null().to_numpy()
        standardised = (numbers.fill_null(self.mean).to_numpy() - self.mean) / self.std
        with np.errstate(over="ignore"):
            x_out[:, 0] = standardised
        if not np.isfinite(x_out[:, 0]).all():
            row = int(np.argmin(np.isfinite(x_out[:, 0])))
            problem = f"{column[row]!r} is too far from the training rows (mean {self.mean:.6g})"
            raise column_error(problem, column, dataset, row)
        if self.marks_missing:
            x_out[:, 1] = missing
        return 0


@dataclass(frozen=True)
class Category:
    """A column of categories, one feature per level; ``text``: the file gave text, not numbers or truths."""

    name: str
    levels: tuple[str, ...]
    has_other: bool
    has_missing: bool
    text: bool

    @property
    def feature_names(self) -> list[str]:
        names = [f"{self.name}={level}" for level in self.levels]
        if self.has_other:
            names.append(f"{self.name}=(other)")
        if self.has_missing:
            names.append(f"{self.name}=(missing)")
        return names

    def encode(self, column: pl.Series, dataset: Dataset, x_out: NDArray[np.float32]) -> int:
        """Write the features and return how many values were categories without one."""
        text = as_text(column, dataset)
        codes = text.cast(pl.Enum(self.levels), strict=False).to_physical()
        known = codes.is_not_null().to_numpy()
        missing = text.is_null().to_numpy()
        x_out[np.flatnonzero(known), codes.drop_nulls().to_numpy()] = 1
        if self.has_missing:
            x_out[missing, -1] = 1
        unknown = ~known & ~missing
        if self.has_other:
            x_out[unknown, len(self.levels)] = 1
            return 0
        return int(unknown.sum())


def as_numbers(column: pl.Series, dataset: Dataset) -> pl.Series:
    """Return float64 with null for missing, or raise at the first text."""
    if column.dtype == pl.Null or column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.cast(pl.Float64).fill_nan(None)
    if column.dtype == pl.String:
        numbers = column.cast(pl.Float64, strict=False)
        bad = (numbers.is_null() & column.is_not_null()).arg_true()
        if len(bad):
            row = int(bad[0])
            raise column_error(f"{column[row]!r} is not a number, as the column was in training", column, dataset, row)
        return numbers.fill_nan(None)
    raise DataError(f"is of type {column.dtype}: a number in training", path=dataset.name, column=column.name)


def as_text(column: pl.Series, dataset: Dataset) -> pl.Series:
    """Return a column as text, whole numbers without a decimal point, missing values as null."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        problem = f"is of type {column.dtype}: expected numbers, text or truth values"
        raise DataError(problem, path=dataset.name, column=column.name)
    return number_text(column)


def refuse_infinite(numbers: pl.Series, dataset: Dataset) -> None:
    infinite = numbers.is_infinite().arg_true()
    if len(infinite):
        row = int(infinite[0])
        raise column_error(f"{numbers[row]} is not a finite number", numbers, dataset, row)


def column_error(problem: str, column: pl.Series, dataset: Dataset, row: int) -> DataError:
    return DataError(problem, path=dataset.name, column=column.name, row=int(dataset.rows[row]))
