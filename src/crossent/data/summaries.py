"""What has to be known of a column's values before it is encoded, gathered batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


@dataclass
class Numbers:
    """Count, mean, standard deviation and extremes of the numbers so far.

    Attributes
    ----------
    count, missing : int
    mean, std : float
        Merged as Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983, have it.
    low, high : float
    largest : tuple of (value, row)
        The number of greatest magnitude as the file has it, and its row.
    counts_rows : bool
        Whether each number so far is one more than the last, or each one less.
    """

    count: int = 0
    missing: int = 0
    mean: float = 0.0
    std: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    largest: tuple[Any, int] = (None, 0)
    counts_rows: bool = True
    _first: float | None = None
    _last: float | None = None
    _step: float | None = None

    def add(self, numbers: pl.Series, column: pl.Series, rows: NDArray[Any]) -> None:
        """Take in numbers (float64, null where missing), which the column of the file stands for."""
        self.missing += numbers.null_count()
        values = numbers.drop_nulls().to_numpy()
        if len(values) == 0:
            return
        # Where a sum or a difference leaves float64's range, mean or std is none: `NumberFit` refuses the column.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            # Squares of values beyond 1e154 or below 1e-162 leave float64's range: bring them near 1 first.
            far = float(np.abs(values - mean).max())
            std = far * float(np.sqrt(np.mean(((values - mean) / far) ** 2))) if far > 0 else 0.0
            self._merge(len(values), mean, std)
            self._see_steps(values)
        low, high = float(values.min()), float(values.max())
        if max(-low, high) > max(-self.low, self.high):
            at = int(numbers.abs().arg_max() or 0)
            self.largest = column[at], int(rows[at])
        self.low, self.high = min(low, self.low), max(high, self.high)

    def told(self) -> dict[str, Any]:
        """Return this as JSON has it."""
        value, row = self.largest
        plain = isinstance(value, (int, float, str, type(None)))
        return {**vars(self), "largest": (value if plain else str(value), row)}

    def take_over(self, told: dict[str, Any]) -> None:
        """Take in what another process has told of the rows that follow."""
        other = Numbers(**told)
        self.missing += other.missing
        if other.count == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            self._merge(other.count, other.mean, other.std)
            self._see_steps(np.array([other._first]))
        self.counts_rows = self.counts_rows and other.counts_rows and other._step in (None, self._step or other._step)
        self._last, self._step = other._last, self._step or other._step
        if max(-other.low, other.high) > max(-self.low, self.high):
            self.largest = other.largest
        self.low, self.high = min(other.low, self.low), max(other.high, self.high)

    def _merge(self, count: int, mean: float, std: float) -> None:
        before, self.count = self.count, self.count + count
        if before == 0:
            self.mean, self.std = mean, std
            return
        apart = mean - self.mean
        scale = max(self.std, std, abs(apart)) or 1.0
        share = count / self.count
        squares = (1 - share) * (self.std / scale) ** 2 + share * (std / scale) ** 2
        self.std = scale * float(np.sqrt(squares + share * (1 - share) * (apart / scale) ** 2))
        self.mean += apart * share

    def _see_steps(self, values: NDArray[Any]) -> None:
        steps = np.diff(values, prepend=values[:1] if self._last is None else self._last)[self._last is None :]
        self._first = float(values[0]) if self._first is None else self._first
        self._last = float(values[-1])
        if len(steps):
            self._step = float(steps[0]) if self._step is None else self._step
            self.counts_rows = self.counts_rows and abs(self._step) == 1 and bool(np.all(steps == self._step))


@dataclass
class Values:
    """How often each value of a column of text occurs.

    Attributes
    ----------
    count, missing : int
    counts : polars.DataFrame
        The columns ``value`` and ``count``, a row per value.
    """

    count: int = 0
    missing: int = 0
    counts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"value": pl.String, "count": pl.UInt32}))

    def add(self, text: pl.Series) -> pl.Series:
        """Take in text, null where missing; return its different values."""
        self.missing += text.null_count()
        self.count += len(text) - text.null_count()
        new = text.cast(pl.String).alias("value").drop_nulls().value_counts()
        both = pl.concat([self.counts, new], how="vertical_relaxed")
        self.counts = both.group_by("value").agg(pl.col("count").sum()) if self.counts.height else new
        return new["value"]

    def told(self) -> dict[str, Any]:
        """Return this as JSON has it."""
        return {"count": self.count, "missing": self.missing, "counts": self.counts.to_dict(as_series=False)}

    def take_over(self, told: dict[str, Any]) -> None:
        """Take in what another process has told."""
        self.missing, self.count = self.missing + told["missing"], self.count + told["count"]
        new = pl.DataFrame(told["counts"], schema={"value": pl.String, "count": pl.UInt32})
        both = pl.concat([self.counts, new], how="vertical_relaxed")
        self.counts = both.group_by("value").agg(pl.col("count").sum())
