"""What one column of a table becomes: standardised numbers, or one feature per category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.bad_rows import MOSTLY
from crossent.data.dataset import Dataset
from crossent.errors import DataError

_DATE = r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b|^\d{1,2}:\d{2}(:\d{2})?$"
_DATE_ADVICE = (
    "holds dates or times: turn them into numbers first, such as year, month, weekday, hour or days since "
    "a fixed day (in polars: pl.col({name!r}).dt.weekday()), or leave the column out with --drop {option}"
)


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
        numbers = _as_numbers(column, dataset)
        _refuse_infinite(numbers, dataset)
        missing = numbers.is_null().to_numpy()
        standardised = (numbers.fill_null(self.mean).to_numpy() - self.mean) / self.std
        with np.errstate(over="ignore"):
            x_out[:, 0] = standardised
        if not np.isfinite(x_out[:, 0]).all():
            row = int(np.argmin(np.isfinite(x_out[:, 0])))
            problem = f"{column[row]!r} is too far from the training rows (mean {self.mean:.6g})"
            raise _error(problem, column, dataset, row)
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


def fit_column(
    column: pl.Series, dataset: Dataset, categorical: bool, max_levels: int
) -> tuple[Number | Category | None, str | None]:
    """Return what the column becomes (None: it is left out) and a note for the user, if any."""
    dtype = column.dtype
    if dtype.is_temporal() or (dtype == pl.String and not categorical and _mostly(column.str.contains(_DATE))):
        advice = _DATE_ADVICE.format(name=column.name, option=_quoted(column.name))
        raise DataError(advice, path=dataset.name, column=column.name)
    if dtype.is_numeric() and not categorical:
        return _fit_number(column, dataset)
    if dtype == pl.String and not categorical:
        _refuse_text_among_numbers(column, dataset)
    return _fit_category(column, dataset, max_levels)


def _fit_number(column: pl.Series, dataset: Dataset) -> tuple[Number | None, str | None]:
    numbers = _as_numbers(column, dataset)
    _refuse_infinite(numbers, dataset)
    missing = numbers.null_count() > 0
    values = numbers.drop_nulls().to_numpy()
    if len(values) == 0 or (not missing and values.min() == values.max()):
        return None, _left_out(column.name, column.drop_nulls()[0] if len(values) else None)
    mean = float(values.mean())
    # Squares of values beyond 1e154 or below 1e-162 leave float64's range: bring them near 1 first.
    largest = float(np.abs(values - mean).max())
    std = largest * float(np.sqrt(np.mean(((values - mean) / largest) ** 2))) if largest > 0 else 1.0
    if not np.isfinite(mean) or not np.isfinite(std):
        row = int(numbers.abs().arg_max() or 0)
        raise _error(f"{column[row]!r} is too large to standardise", column, dataset, row)
    note = None
    steps = np.diff(values)
    if (
        column.dtype.is_integer()
        and not missing
        and len(steps) >= 20
        and np.all(np.abs(steps) == 1)
        and steps.min() == steps.max()
    ):
        note = f"column {column.name!r} counts the rows: an identifier? Then use --drop {_quoted(column.name)}"
    return Number(column.name, mean, std, missing), note


def _fit_category(column: pl.Series, dataset: Dataset, max_levels: int) -> tuple[Category | None, str | None]:
    text = as_text(column, dataset)
    counts = text.drop_nulls().value_counts(sort=True)
    n_levels, n_present = counts.height, len(text) - text.null_count()
    missing = text.null_count() > 0
    if n_levels == 0 or (n_levels == 1 and not missing):
        return None, _left_out(column.name, counts[0, 0] if n_levels else None)
    if n_levels > 50 and n_levels > n_present / 2:
        problem = (
            f"has {n_levels} different values in {n_present} rows: an identifier says nothing about other "
            f"rows; leave the column out with --drop {_quoted(column.name)}"
        )
        raise DataError(problem, path=dataset.name, column=column.name)
    ordered = counts.sort(["count", column.name], descending=[True, False])[column.name].to_list()
    kept = tuple(sorted(ordered[:max_levels]))
    note = None
    if n_levels > max_levels:
        rare = n_levels - max_levels
        note = f'column {column.name!r} has {n_levels} categories: the rarest {rare} share the level "(other)"'
    return Category(column.name, kept, n_levels > max_levels, missing, column.dtype == pl.String), note


def _as_numbers(column: pl.Series, dataset: Dataset) -> pl.Series:
    """Return float64 with null for missing, or raise at the first text."""
    if column.dtype == pl.Null or column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.cast(pl.Float64).fill_nan(None)
    if column.dtype == pl.String:
        numbers = column.cast(pl.Float64, strict=False)
        bad = (numbers.is_null() & column.is_not_null()).arg_true()
        if len(bad):
            row = int(bad[0])
            raise _error(f"{column[row]!r} is not a number, as the column was in training", column, dataset, row)
        return numbers.fill_nan(None)
    raise DataError(f"is of type {column.dtype}: a number in training", path=dataset.name, column=column.name)


def as_text(column: pl.Series, dataset: Dataset) -> pl.Series:
    """Return a column as text, whole numbers without a decimal point, missing values as null."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        problem = f"is of type {column.dtype}: expected numbers, text or truth values"
        raise DataError(problem, path=dataset.name, column=column.name)
    if column.dtype.is_float():
        whole = column.fill_nan(None)
        column = whole.cast(pl.Int64) if (whole == whole.round()).all() and (whole.abs() < 2**53).all() else whole
    return column.cast(pl.String)


def _refuse_infinite(numbers: pl.Series, dataset: Dataset) -> None:
    infinite = numbers.is_infinite().arg_true()
    if len(infinite):
        row = int(infinite[0])
        raise _error(f"{numbers[row]} is not a finite number", numbers, dataset, row)


def _refuse_text_among_numbers(column: pl.Series, dataset: Dataset) -> None:
    numbers = column.cast(pl.Float64, strict=False)
    parsed = numbers.is_not_null()
    present = len(column) - column.null_count()
    if present and MOSTLY * present <= int(parsed.sum()) < present:
        row = int((~parsed & column.is_not_null()).arg_true()[0])
        problem = (
            f"{column[row]!r} is not a number, as {int(parsed.sum())} of the column's {present} values are: "
            f"mend it, declare it missing (--missing {_quoted(column[row])}) or the column "
            f"categorical (--categorical {_quoted(column.name)})"
        )
        raise _error(problem, column, dataset, row)


def _mostly(truths: pl.Series) -> bool:
    present = len(truths) - truths.null_count()
    return present > 0 and int(truths.sum()) >= MOSTLY * present


def _left_out(name: str, value: object) -> str:
    shown = "only missing values" if value is None else f"the one value {value}"
    return f"column {name!r} holds {shown}: left out"


def _quoted(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else f"'{name}'"


def _error(problem: str, column: pl.Series, dataset: Dataset, row: int) -> DataError:
    return DataError(problem, path=dataset.name, column=column.name, row=int(dataset.rows[row]))
