"""Table columns and images as the numbers a network learns from.

What a column becomes is decided on the training rows alone; any other row is only looked up.
"""

from __future__ import annotations

import math
import operator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.column_fit import CategoryFit, NumberFit, begin_fit
from crossent.data.columns import Category, Number
from crossent.data.dataset import Dataset, find_column
from crossent.data.text import TEXT_FEATURES, Text
from crossent.errors import DataError
from crossent.ranks import Ranks

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True)
class Encoded:
    """The numbers of some rows.

    Attributes
    ----------
    x : float32 array or CSR matrix of shape (n, d)
    unknown : dict of str to int
        How many values of each column were categories the training rows did not have.
    """

    x: NDArray[np.float32] | sp.csr_matrix
    unknown: dict[str, int]


@dataclass(frozen=True)
class TableEncoder:
    """Numbers standardised, categories one-hot coded, missing values kept apart.

    A number becomes ``(x - mean) / std`` with mean and deviation of the training rows. A missing number
    takes the mean, so 0; where training rows lack it, a further feature marks it. A category becomes one
    feature per level, a missing one a level of its own. Levels beyond ``max_levels``, the rarest, share the
    level "(other)", as do later unknown ones; a column without that level codes an unknown category as zeros
    and counts it. A column with one value only is left out. A column of free text becomes hashed n-grams (`Text`),
    after the features of all other columns; the rows are then sparse.

    Attributes
    ----------
    columns : tuple of Number, Category or Text
    notes : tuple of str
        What was left out, and what looks doubtful.
    """

    columns: tuple[Number | Category | Text, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        *,
        categorical: tuple[str, ...] = (),
        text: tuple[str, ...] = (),
        text_features: int = TEXT_FEATURES,
        max_levels: int = 64,
    ) -> TableEncoder:
        """Decide on every column of the training rows.

        Raises
        ------
        DataError
            Dates, nested values, infinite numbers, text among numbers, identifiers.

        Examples
        --------
        >>> frame = pl.DataFrame({"weight": [4.0, 6.0], "kind": ["cat", "dog"]})
        >>> pets = Dataset("pets", frame, np.arange(1, 3))
        >>> encoder = TableEncoder.fit(pets)
        >>> encoder.feature_names
        ['weight', 'kind=cat', 'kind=dog']
        >>> encoder.transform(pets).x.tolist()
        [[-1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
        """
        fit = TableFit(categorical, text, text_features, max_levels)
        fit.add(dataset)
        return fit.encoder()

    @property
    def feature_names(self) -> list[str]:
        return [name for column in self.columns for name in column.feature_names]

    @property
    def text_columns(self) -> list[str]:
        """The columns that a CSV must give as text, as in training."""
        return [
            column.name
            for column in self.columns
            if isinstance(column, Text) or (isinstance(column, Category) and column.text)
        ]

    def transform(self, dataset: Dataset) -> Encoded:
        """Return the features of the rows.

        Raises
        ------
        DataError
            A column is absent or of another type than in training, naming the row.
        """
        frame = _frame(dataset)
        absent = [column.name for column in self.columns if column.name not in frame.columns]
        if absent:
            names = ", ".join(map(repr, absent))
            raise DataError(
                f"lacks the column{'s' * (len(absent) > 1)} {names} that the model needs", path=dataset.name
            )
        dense = [column for column in self.columns if not isinstance(column, Text)]
        texts = [column for column in self.columns if isinstance(column, Text)]
        x = np.zeros((frame.height, sum(len(column.feature_names) for column in dense)), np.float32)
        unknown: dict[str, int] = {}
        start = 0
        for column in dense:
            stop = start + len(column.feature_names)
            n_unknown = column.encode(frame[column.name], dataset, x[:, start:stop])
            if n_unknown:
                unknown[column.name] = n_unknown
            start = stop
        if not texts:
            return Encoded(x, unknown)
        from scipy.sparse import csr_matrix, hstack

        blocks = [csr_matrix(x), *(column.encode(frame[column.name], dataset) for column in texts)]
        return Encoded(csr_matrix(hstack(blocks, format="csr")), unknown)

    def extra_columns(self, dataset: Dataset) -> list[str]:
        """Return the columns of the rows that the model does not use."""
        used = {column.name for column in self.columns}
        return [name for name in _frame(dataset).columns if name not in used]

    def to_json(self) -> dict[str, Any]:
        """Return what `encoder_from_json` restores, floats exactly."""
        parts = [{"kind": type(column).__name__.lower(), **asdict(column)} for column in self.columns]
        return {"kind": "table", "columns": parts, "notes": list(self.notes)}


class TableFit:
    """An encoder on the way: it takes in the training rows batch by batch, and then decides on every column."""

    def __init__(
        self,
        categorical: tuple[str, ...] = (),
        text: tuple[str, ...] = (),
        text_features: int = TEXT_FEATURES,
        max_levels: int = 64,
    ) -> None:
        self._categorical, self._text, self._text_features = categorical, text, text_features
        self._max_levels = max_levels
        self._columns: dict[str, NumberFit | CategoryFit] = {}
        self._path: str | None = None

    def add(self, dataset: Dataset) -> None:
        """Take in rows; every batch has the columns of the first, in its types."""
        frame = _frame(dataset)
        if self._path is None:
            self._begin(frame, dataset.name)
        for name, fit in self._columns.items():
            fit.add(frame[name], dataset)

    def share(self, ranks: Ranks) -> None:
        """Take in what every process has seen of the rows, which they hold one after another."""
        told = ranks.gather_json({name: fit.told() for name, fit in self._columns.items()})
        for name, fit in self._columns.items():
            fit.take_over([part[name] for part in told])

    def encoder(self) -> TableEncoder:
        """Return the encoder for the rows so far."""
        decisions = [fit.decide() for fit in self._columns.values()]
        fitted: list[Number | Category | Text] = [column for column, _ in decisions if column is not None]
        fitted += [Text(name, self._text_features) for name in self._text]
        if not fitted:
            raise DataError("no column has more than one value: there is nothing to learn from", path=self._path)
        return TableEncoder(tuple(fitted), tuple(note for _, note in decisions if note is not None))

    def _begin(self, frame: pl.DataFrame, path: str) -> None:
        self._path = path
        for names, option in ((self._categorical, "--categorical"), (self._text, "--text")):
            for name in names:
                find_column(name, frame.columns, path, option)
        for column in frame.iter_columns():
            if column.name not in self._text:
                self._columns[column.name] = begin_fit(
                    column, path, categorical=column.name in self._categorical, max_levels=self._max_levels
                )


@dataclass(frozen=True)
class ImageEncoder:
    """Pixels divided by the largest value of the training images.

    Attributes
    ----------
    shape : tuple of int
        Height and width.
    largest : float
    """

    notes: ClassVar[tuple[str, ...]] = ()
    text_columns: ClassVar[tuple[str, ...]] = ()

    shape: tuple[int, int]
    largest: float

    @classmethod
    def fit(cls, dataset: Dataset, ranks: Ranks | None = None) -> ImageEncoder:
        images = _images(dataset)
        largest = float(np.abs(images).max(initial=0))
        if ranks is not None:
            most = np.array([largest if np.isfinite(largest) else np.inf])
            ranks.most(most)
            largest = float(most[0]) if np.isfinite(largest) else largest
        if not np.isfinite(largest):
            bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
            row = int(dataset.rows[bad[0]]) if len(bad) else None
            raise DataError("a pixel is not finite", path=dataset.name, column="X", row=row)
        if largest == 0:
            raise DataError("every pixel is 0: there is nothing to learn from", path=dataset.name)
        return cls((images.shape[1], images.shape[2]), largest)

    @property
    def feature_names(self) -> list[str]:
        return [f"pixel {row},{column}" for row in range(self.shape[0]) for column in range(self.shape[1])]

    def transform(self, dataset: Dataset) -> Encoded:
        images = _images(dataset)
        if images.shape[1:] != self.shape:
            sizes = [" x ".join(map(str, shape)) for shape in (images.shape[1:], self.shape)]
            raise DataError(f"images of {sizes[0]} pixels: the model was trained on {sizes[1]}", path=dataset.name)
        x = images.reshape(len(images), -1).astype(np.float32)
        x /= np.float32(self.largest)
        if not np.isfinite(x).all():
            row = int(np.argmin(np.isfinite(x).all(axis=1)))
            raise DataError("a pixel is not finite", path=dataset.name, column="X", row=int(dataset.rows[row]))
        return Encoded(x, {})

    def extra_columns(self, dataset: Dataset) -> list[str]:
        return []

    def to_json(self) -> dict[str, Any]:
        return {"kind": "images", "shape": list(self.shape), "largest": self.largest}


@dataclass(frozen=True)
class SparseEncoder:
    """The features of a libsvm file, as they are.

    Attributes
    ----------
    n_features : int
        One more than the greatest index of the training rows.
    """

    notes: ClassVar[tuple[str, ...]] = ()
    text_columns: ClassVar[tuple[str, ...]] = ()

    n_features: int

    @property
    def feature_names(self) -> list[str]:
        return [str(index) for index in range(self.n_features)]

    def transform(self, dataset: Dataset) -> Encoded:
        """Return the features of the rows; an index that no training row had is counted as unknown."""
        from scipy.sparse import csr_matrix

        x = dataset.features
        if isinstance(x, pl.DataFrame | np.ndarray):
            raise DataError("is no libsvm file: the model was trained on one", path=dataset.name)
        if x.shape[1] <= self.n_features:
            return Encoded(csr_matrix((x.data, x.indices, x.indptr), shape=(len(dataset), self.n_features)), {})
        beyond = x[:, self.n_features :]
        n_unknown = int((np.diff(beyond.indptr) > 0).sum())
        unknown = {f"{self.n_features} and above": n_unknown} if n_unknown else {}
        return Encoded(csr_matrix(x[:, : self.n_features]), unknown)

    def extra_columns(self, dataset: Dataset) -> list[str]:
        return []

    def to_json(self) -> dict[str, Any]:
        return {"kind": "sparse", "n_features": self.n_features}


Encoder: TypeAlias = TableEncoder | ImageEncoder | SparseEncoder


def fit_encoder(
    dataset: Dataset,
    categorical: tuple[str, ...] = (),
    text: tuple[str, ...] = (),
    text_features: int = TEXT_FEATURES,
    ranks: Ranks | None = None,
) -> Encoder:
    """Return the encoder for what the dataset holds, or all those of some processes."""
    if isinstance(dataset.features, pl.DataFrame):
        fit = TableFit(categorical, text, text_features)
        if ranks is None:
            fit.add(dataset)
        else:
            ranks.together(lambda: fit.add(dataset))
            fit.share(ranks)
        return fit.encoder()
    for names, option in ((categorical, "--categorical"), (text, "--text")):
        if names:
            raise DataError(f"has no columns with names: {option} is for tables", path=dataset.name)
    if isinstance(dataset.features, np.ndarray):
        return ImageEncoder.fit(dataset, ranks)
    return SparseEncoder(dataset.features.shape[1])


def encoder_from_json(saved: dict[str, Any]) -> Encoder:
    """Restore an encoder from its `to_json`."""
    if saved["kind"] == "images":
        height, width = (operator.index(size) for size in saved["shape"])
        if not 0 < float(saved["largest"]) < math.inf:
            raise ValueError(f"the largest pixel is {saved['largest']}: expected a finite number above 0")
        return ImageEncoder((height, width), saved["largest"])
    if saved["kind"] == "sparse":
        return SparseEncoder(operator.index(saved["n_features"]))
    kinds: dict[str, type[Number | Category | Text]] = {"number": Number, "category": Category, "text": Text}
    parts = [{**part, **({"levels": tuple(part["levels"])} if "levels" in part else {})} for part in saved["columns"]]
    restored = tuple(kinds[part.pop("kind")](**part) for part in parts)
    for column in restored:
        if not _is_sound(column):
            raise ValueError(f"the encoder's column {column.name!r} is none that training makes")
    return TableEncoder(restored, tuple(saved["notes"]))


def width(encoder: Encoder) -> int:
    """Return the number of the features without making their names: a damaged file may ask for any number."""
    if isinstance(encoder, ImageEncoder):
        return encoder.shape[0] * encoder.shape[1]
    if isinstance(encoder, SparseEncoder):
        return encoder.n_features
    return sum(c.n_features if isinstance(c, Text) else len(c.feature_names) for c in encoder.columns)


def _is_sound(column: Number | Category | Text) -> bool:
    if not isinstance(column.name, str):
        return False
    if isinstance(column, Number):
        numbers = isinstance(column.mean, float) and isinstance(column.std, float)
        return numbers and isinstance(column.marks_missing, bool) and math.isfinite(column.mean) and column.std > 0
    if isinstance(column, Text):
        return isinstance(column.n_features, int) and column.n_features > 0
    return (
        all(isinstance(level, str) for level in column.levels)
        and len(set(column.levels)) == len(column.levels)
        and all(isinstance(flag, bool) for flag in (column.has_other, column.has_missing, column.text))
    )


def _frame(dataset: Dataset) -> pl.DataFrame:
    if not isinstance(dataset.features, pl.DataFrame):
        kind = "images" if isinstance(dataset.features, np.ndarray) else "a libsvm file's features"
        raise DataError(f"holds {kind}: the model was trained on a table", path=dataset.name)
    return dataset.features


def _images(dataset: Dataset) -> NDArray[Any]:
    if not isinstance(dataset.features, np.ndarray):
        raise DataError("holds no images: the model was trained on images", path=dataset.name)
    return dataset.features
