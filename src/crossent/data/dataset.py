"""One set of rows from any source: features, labels as text, weights, and which rows of the file they are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data import builtin
from crossent.data.bad_rows import BadRows, without_bad_values
from crossent.data.tables import SVMLIGHT, existing_file, read_arrays, read_svmlight, read_table, table_suffix
from crossent.errors import DataError

if TYPE_CHECKING:
    import scipy.sparse as sp

Features: TypeAlias = "pl.DataFrame | NDArray[Any] | sp.csr_matrix"
# What a row of probabilities may miss 1 by: they are often written with two or three digits.
SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class Dataset:
    """Rows with their features and, where known, labels and weights.

    Attributes
    ----------
    name : str
        The file, or the name of the built-in set, as messages call it.
    features : polars.DataFrame, array of shape (n, height, width) or CSR matrix of shape (n, d)
        A table, images, or the features of a libsvm file.
    rows : int64 array of shape (n,)
        The row of the file each came from, counted from 1.
    labels : polars.Series of str or Enum, optional
    label_probs : polars.DataFrame of float64, optional
        In the place of labels: the probability of each class, a column a class; every row sums to 1.
    weights : float64 array of shape (n,), optional
    """

    name: str
    features: Features
    rows: NDArray[np.int64]
    labels: pl.Series | None = None
    label_probs: pl.DataFrame | None = None
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def concatenated(cls, batches: Sequence[Dataset]) -> Dataset:
        """Return the rows of batches of one table as one dataset."""

        def joined(name: str) -> Any:
            values = [getattr(batch, name) for batch in batches]
            if values[0] is None:
                return None
            return np.concatenate(values) if isinstance(values[0], np.ndarray) else pl.concat(values)

        return cls(batches[0].name, *map(joined, ("features", "rows", "labels", "label_probs", "weights")))

    def take(self, index: NDArray[np.int64]) -> Dataset:
        """Return the dataset of some rows, in the order given."""
        return replace(
            self,
            features=self.features[index],
            rows=self.rows[index],
            labels=None if self.labels is None else self.labels[index],
            label_probs=None if self.label_probs is None else self.label_probs[index],
            weights=None if self.weights is None else self.weights[index],
        )


def read_dataset(
    data: str | Path,
    *,
    part: builtin.Part = "train",
    label: str | None = None,
    label_probs: Sequence[str] = (),
    weight: str | None = None,
    drop: Collection[str] = (),
    text_columns: Collection[str] = (),
    missing: Collection[str] = (),
    data_dir: str | Path | None = None,
    bad_rows: BadRows | None = None,
) -> Dataset:
    """Read a file, or one part of a built-in set.

    Parameters
    ----------
    data : path-like, "digits" or "fashion-mnist"
    part : {"train", "test"}
        Of a built-in set.
    label, weight : str, optional
        The columns of the labels and of the sample weights; they are no features.
    label_probs : sequence of str
        In the place of ``label``: the columns of the classes' probabilities. A class is called what its column is,
        without the ``p_`` that all of them may begin with.
    drop : collection of str
        Columns to leave out.
    text_columns, missing : collection of str
        As in `read_table`.
    data_dir : path-like, optional
        Where the files of ``fashion-mnist`` lie.
    bad_rows : BadRows, optional
        Takes the rows of a table that cannot be used, which are then left out; without it the first is an error.

    Raises
    ------
    DataError
        With file, column and row.

    Examples
    --------
    >>> digits = read_dataset("digits", part="test")
    >>> len(digits), digits.features.shape, digits.labels[0]
    (359, (359, 8, 8), '2')
    """
    if str(data) in builtin.NAMES:
        images = builtin.load_builtin(str(data), part, data_dir)
        names = pl.Series("label", images.classes, dtype=pl.Enum(images.classes))[images.labels]
        return Dataset(str(data), images.images, _row_numbers(len(names)), names)
    if table_suffix(Path(data)) == ".npz":
        arrays = read_arrays(data)
        return array_dataset(str(data), arrays, _row_numbers(len(arrays["X"])), weight=weight, drop=drop)
    if table_suffix(Path(data)) in SVMLIGHT:
        matrix, y = read_svmlight(data)
        return Dataset(str(data), matrix, _row_numbers(len(y)), label_text(pl.Series("label", y)))
    existing_file(data)
    # Labels are names: read as text, "007" of one file and of the next stay the same class.
    text = {*text_columns, label} if label is not None else set(text_columns)
    ragged: dict[int, str] | None = None if bad_rows is None else {}
    frame = read_table(data, text_columns=text, missing=missing, ragged=ragged)
    rows = _row_numbers(frame.height + len(ragged or ()))
    if bad_rows is not None and ragged is not None:
        rows = bad_rows.without_ragged(rows, ragged)
        frame, rows = without_bad_values(
            frame, rows, bad_rows, label=label, label_probs=label_probs, weight=weight, as_text={*text, *drop}
        )
        if frame.height == 0:
            raise DataError("holds bad rows only", path=data)
    dataset = table_dataset(str(data), frame, rows, label=label, label_probs=label_probs, weight=weight, drop=drop)
    if dataset.weights is not None and not dataset.weights.any():
        raise DataError("every sample weight is 0", path=data, column=weight)
    return dataset


def array_dataset(
    name: str, arrays: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], *, weight: str | None, drop: Collection[str]
) -> Dataset:
    """Return the dataset of the arrays of an .npz file, and the rows of the file that they hold."""
    x, y = arrays["X"], arrays.get("y")
    labels = None if y is None else label_text(pl.Series("y", _plain(y, name)))
    if x.ndim == 3:
        return Dataset(name, x, rows, labels)
    frame = pl.DataFrame(x, schema=[f"x{i + 1}" for i in range(x.shape[1])])
    return replace(table_dataset(name, frame, rows, weight=weight, drop=drop), labels=labels)


def label_text(column: pl.Series) -> pl.Series:
    """Return labels as text: whole numbers without a decimal point, missing ones as null.

    An Enum column stays one: it knows the order of its classes.
    """
    return column if column.dtype == pl.Enum else number_text(column)


def number_text(column: pl.Series) -> pl.Series:
    """Return a column as text: whole numbers without a decimal point, missing values as null."""
    if not column.dtype.is_float():
        return column.cast(pl.String)
    value = pl.col("value")
    whole = (value == value.round()) & (value.abs() < 2**53)
    text = pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))
    return column.fill_nan(None).to_frame("value").select(text.alias(column.name)).to_series()


def find_column(name: str, columns: list[str], path: str, what: str) -> None:
    """Raise the DataError that proposes a column when ``name`` is none of them."""
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, 1, 0.6) or difflib.get_close_matches(name.lower(), columns, 1, 0.6)
    shown = ", ".join(columns[:12]) + (f", … ({len(columns)} columns)" if len(columns) > 12 else "")
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {shown}"
    raise DataError(f"there is no column {name!r} ({what}): {hint}", path=path)


def table_dataset(
    name: str,
    frame: pl.DataFrame,
    rows: NDArray[np.int64],
    *,
    label: str | None = None,
    label_probs: Sequence[str] = (),
    weight: str | None = None,
    drop: Collection[str] = (),
) -> Dataset:
    """Return the dataset of a frame and the rows of the file that it holds."""
    labels = None
    for column, what in (
        (label, "--label"),
        *((column, "--label-probs") for column in label_probs),
        (weight, "--sample-weight"),
        *((column, "--drop") for column in drop),
    ):
        if column is not None:
            find_column(column, frame.columns, name, what)
    if label is not None:
        labels = _label_column(frame[label], name)
    probs = _probabilities(frame.select(label_probs), name, rows) if label_probs else None
    weights = None if weight is None else _weights(frame[weight], name, rows)
    left_out = {label, weight, *label_probs, *drop}
    features = frame.select(column for column in frame.columns if column not in left_out)
    if features.width == 0:
        raise DataError("no columns are left to learn from", path=name)
    return Dataset(name, features, rows, labels, probs, weights)


def _label_column(column: pl.Series, path: str) -> pl.Series:
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise DataError(f"is of type {column.dtype}: labels are text or numbers", path=path, column=column.name)
    return label_text(column)


def class_names_of(columns: Sequence[str]) -> list[str]:
    """Return the classes that columns of probabilities are named after: ``p_cat`` and ``p_dog`` are cat and dog."""
    if all(len(name) > 2 and name.startswith("p_") for name in columns):
        return [name.removeprefix("p_") for name in columns]
    return list(columns)


def _probabilities(columns: pl.DataFrame, path: str, rows: NDArray[np.int64]) -> pl.DataFrame:
    """Return one probability per class, every row divided by its sum; a row that is none raises."""
    if columns.width < 2:
        raise DataError("one column of probabilities (--label-probs): expected two or more classes", path=path)
    numbers = []
    for column in columns.iter_columns():
        number = column.cast(pl.Float64, strict=False) if not column.dtype.is_nested() else pl.Series([None])
        bad = ~((number >= 0) & number.is_finite()).fill_null(False)
        if bad.any():
            row = int(bad.arg_true()[0])
            problem = f"{column[row]!r} is no probability: expected a number from 0 to 1"
            raise DataError(problem, path=path, column=column.name, row=int(rows[row]))
        numbers.append(number)
    total = np.sum([number.to_numpy() for number in numbers], axis=0)
    off = np.abs(total - 1) > SUM_TOLERANCE
    if off.any():
        row = int(np.argmax(off))
        problem = f"the probabilities of the classes sum to {total[row]:.6g}: expected 1 within {SUM_TOLERANCE}"
        raise DataError(problem, path=path, row=int(rows[row]))
    names = class_names_of(columns.columns)
    return pl.DataFrame({name: number.to_numpy() / total for name, number in zip(names, numbers, strict=True)})


def _weights(column: pl.Series, path: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    numbers = column.cast(pl.Float64, strict=False) if column.dtype == pl.String or column.dtype.is_numeric() else None
    if numbers is None:
        raise DataError(f"is of type {column.dtype}: sample weights are numbers", path=path, column=column.name)
    bad = ~((numbers >= 0) & numbers.is_finite()).fill_null(False)
    if bad.any():
        row = int(bad.arg_true()[0])
        problem = f"{column[row]!r} is no sample weight: expected a finite number, 0 or more"
        raise DataError(problem, path=path, column=column.name, row=int(rows[row]))
    return numbers.to_numpy()


def _plain(y: NDArray[Any], path: str | Path) -> NDArray[Any]:
    if y.dtype.kind not in "buifU":
        raise DataError(f"is {y.dtype}: expected integers or text", path=path, column="y")
    if y.dtype.kind == "U":
        try:
            "".join(y.ravel().tolist()).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"holds what is no text ({error.reason})", path=path, column="y") from error
    return y


def _row_numbers(n: int) -> NDArray[np.int64]:
    return np.arange(1, n + 1)
