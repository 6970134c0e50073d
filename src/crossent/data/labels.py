"""Labels as text to classes as numbers, and what is wrong with labels that cannot be classes."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.dataset import Dataset
from crossent.data.summaries import Values
from crossent.errors import DataError
from crossent.ranks import Ranks


def drop_missing_labels(dataset: Dataset) -> tuple[Dataset, int]:
    """Return the rows that have a label, and how many had none."""
    if dataset.label_probs is not None:
        return dataset, 0
    labels = _present(dataset)
    kept = labels.is_not_null().arg_true().to_numpy().astype(np.int64)
    return dataset.take(kept), len(dataset) - len(kept)


class LabelFit:
    """The classes on the way: all labels of the rows, which may come in batches."""

    def __init__(self) -> None:
        self._values = Values()
        self._probs: list[str] | None = None
        self._enum: pl.Enum | None = None
        self._first_missing: int | None = None
        self._path: str | None = None

    def add(self, dataset: Dataset) -> None:
        self._path = dataset.name
        if dataset.label_probs is not None:
            self._probs = dataset.label_probs.columns
            return
        labels = _present(dataset)
        if isinstance(labels.dtype, pl.Enum):
            self._enum = labels.dtype
        self._values.add(labels)
        if self._first_missing is None and labels.null_count():
            self._first_missing = int(dataset.rows[int(labels.is_null().arg_true()[0])])

    def share(self, ranks: Ranks) -> None:
        """Take in what every process has seen of the rows, which they hold one after another."""
        told = ranks.gather_json({"values": self._values.told(), "first missing": self._first_missing})
        self._values = Values()
        for part in told:
            self._values.take_over(part["values"])
        missing = (part["first missing"] for part in told)
        self._first_missing = next((row for row in missing if row is not None), None)

    def classes(self, column: str) -> list[str]:
        """Return the classes in order: an Enum's own, numbers by value, else by name.

        Raises
        ------
        DataError
            A missing label, a single class, or so many different labels that they cannot be classes.
        """
        if self._probs is not None:
            return self._probs
        values = self._values
        classes = values.counts["value"]
        if values.missing:
            count = f"{values.missing} rows have" if values.missing > 1 else "the row has"
            problem = f"{count} no label (give --drop-missing-label to leave such rows out)"
            raise DataError(problem, path=self._path, column=column, row=self._first_missing)
        if len(classes) < 2:
            only = repr(classes[0]) if len(classes) else "missing"
            raise DataError(f"every label is {only}: expected two or more classes", path=self._path, column=column)
        if len(classes) > 50 and len(classes) > values.count / 2:
            problem = f"has {len(classes)} different labels in {values.count} rows: expected classes"
            raise DataError(problem, path=self._path, column=column)
        if self._enum is not None:
            return [name for name in self._enum.categories if name in set(classes)]
        numbers = classes.cast(pl.Float64, strict=False)
        order = classes if numbers.null_count() else numbers
        return classes[order.arg_sort()].to_list()


def find_classes(dataset: Dataset, column: str) -> list[str]:
    """Return the classes of all rows; see `LabelFit.classes`."""
    labels = LabelFit()
    labels.add(dataset)
    return labels.classes(column)


def encode_labels(dataset: Dataset, classes: list[str], column: str) -> NDArray[np.int64]:
    """Return each row's class as an index into ``classes``; a bad one raises, naming its row."""
    labels = _present(dataset)
    codes = class_codes(labels, classes)
    if codes.null_count():
        row = int(codes.is_null().arg_true()[0])
        if labels[row] is None:
            problem = "the row has no label"
        else:
            problem = f"{labels[row]!r} is none of the {len(classes)} classes of training: its loss is infinite"
        raise DataError(problem, path=dataset.name, column=column, row=int(dataset.rows[row]))
    return codes.to_numpy().astype(np.int64)


def class_codes(labels: pl.Series, classes: list[str]) -> pl.Series:
    """Return indices into ``classes``, null where the label is none of them."""
    return labels.cast(pl.String).cast(pl.Enum(classes), strict=False).to_physical()


def true_labels(dataset: Dataset, classes: list[str], column: str) -> NDArray[np.int64]:
    """Return each row's class as an index into ``classes``: of probabilities, the most probable one."""
    if dataset.label_probs is None:
        return encode_labels(dataset, classes, column)
    return np.asarray(dataset.label_probs.select(classes).to_numpy().argmax(axis=1), np.int64)


def true_probs(dataset: Dataset, classes: list[str]) -> NDArray[np.float64] | None:
    """Return each row's probability of each class, (n, C), or None where rows have labels."""
    return None if dataset.label_probs is None else dataset.label_probs.select(classes).to_numpy()


def _present(dataset: Dataset) -> pl.Series:
    if dataset.labels is None:
        raise DataError("holds no labels: expected an array y", path=dataset.name)
    return dataset.labels
