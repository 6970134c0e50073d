"""A trained model as a whole: what turns a row of a file into the logits of its classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossent.data.dataset import Dataset, read_dataset
from crossent.data.encoder import Encoded, Encoder, TableEncoder, encoder_from_json, width
from crossent.data.streaming import TableStream
from crossent.errors import DataError
from crossent.stored import MISFITS

if TYPE_CHECKING:
    import scipy.sparse as sp

    from crossent.estimators.softmax_classifier import SoftmaxClassifier

_FORMAT = 2


@dataclass(frozen=True)
class TrainedModel:
    """A classifier, the encoder of its features, and the names of its classes.

    Attributes
    ----------
    classes : list of str
    label : str
        The column of the labels in training.
    label_probs : tuple of str
        In its place: the columns of the classes' probabilities.
    frequencies : float64 array of shape (C,)
        The share of each class in training.
    source : str
        What it was trained on.
    """

    estimator: SoftmaxClassifier
    encoder: Encoder
    classes: list[str]
    label: str
    frequencies: NDArray[np.float64]
    source: str
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    label_probs: tuple[str, ...] = ()

    def read(
        self,
        data: str | Path,
        *,
        label: bool = False,
        weight: str | None = None,
        data_dir: str | Path | None = None,
    ) -> Dataset:
        """Read rows as in training; of a built-in set, its test part. ``label`` reads the labels too."""
        return read_dataset(
            data,
            part="test",
            label=self.label if label and not self.label_probs else None,
            label_probs=self.label_probs if label else (),
            weight=weight,
            text_columns=self.encoder.text_columns,
            missing=self.missing,
            data_dir=data_dir,
        )

    def batches(
        self,
        data: str | Path,
        *,
        label: bool = False,
        weight: str | None = None,
        of_equal_types: bool = False,
        data_dir: str | Path | None = None,
    ) -> Iterator[Dataset]:
        """Read the rows as `read` does, those of a table in batches.

        A column that the model does not use may be of another type in each batch, unless ``of_equal_types``.
        """
        if not TableStream.takes(data):
            yield self.read(data, label=label, weight=weight, data_dir=data_dir)
            return
        stream = TableStream(
            data,
            label=self.label if label and not self.label_probs else None,
            label_probs=self.label_probs if label else (),
            weight=weight,
            text_columns=self.encoder.text_columns,
            missing=self.missing,
        )
        if of_equal_types:
            stream.survey()
        empty = True
        for dataset in stream.batches():
            yield dataset
            empty = False
        if empty:
            raise DataError("holds no rows", path=data)

    def encode(self, dataset: Dataset) -> Encoded:
        """Return the features of the rows."""
        return self.encoder.transform(dataset)

    def unused_columns(self, dataset: Dataset) -> list[str]:
        """Return the columns of the rows that training never saw."""
        seen = {self.label, *self.label_probs, *self.ignored}
        return [name for name in self.encoder.extra_columns(dataset) if name not in seen]

    def logits_of(self, x: NDArray[np.float32] | sp.csr_matrix) -> NDArray[np.float64]:
        """Return the logits of encoded rows, one column per class, over the temperature that calibrated them.

        scikit-learn gives two classes one score, the difference of their logits; here each class has its own.
        """
        scores = np.asarray(self.estimator.decision_function(x), np.float64)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        return scores / self.estimator.temperature_

    def logits(self, data: str | Path, *, data_dir: str | Path | None = None) -> NDArray[np.float64]:
        """Return the logits of every row of a file (or the test part of a built-in set), shape (n, C)."""
        return self.logits_of(self.encode(self.read(data, data_dir=data_dir)).x)

    def logits_of_row(
        self, data: str | Path, row: int, *, data_dir: str | Path | None = None
    ) -> tuple[NDArray[np.float64], str | None]:
        """Return the logits of one row, counted from 1, and its label where it has one that is a class."""
        dataset = self.read(data, data_dir=data_dir)
        if not 1 <= row <= len(dataset):
            raise DataError(f"there is no row {row}: expected 1 to {len(dataset)}", path=dataset.name)
        one = dataset.take(np.array([row - 1]))
        if (
            isinstance(self.encoder, TableEncoder)
            and not self.label_probs
            and self.label in self.encoder.extra_columns(one)
        ):
            one = self.read(data, label=True, data_dir=data_dir).take(np.array([row - 1]))
        name = None if one.labels is None else one.labels[0]
        return self.logits_of(self.encode(one).x)[0], name if name in self.classes else None


def save_trained(directory: str | Path, model: TrainedModel) -> None:
    """Write the model's directory: safetensors and JSON."""
    from crossent.estimators.model_files import save_model

    extra: dict[str, Any] = {
        "format": _FORMAT,
        "classes": model.classes,
        "label": model.label,
        "source": model.source,
        "ignored": list(model.ignored),
        "missing": list(model.missing),
        "label_probs": list(model.label_probs),
        "encoder": model.encoder.to_json(),
    }
    save_model(directory, model.estimator, extra_tensors={"frequencies": model.frequencies}, extra=extra)


def load_trained(directory: str | Path) -> TrainedModel:
    """Load what `save_trained` wrote.

    Raises
    ------
    DataError
        The directory holds no such model.
    """
    from crossent.estimators.model_files import load_model

    loaded = load_model(directory)
    extra = loaded.extra
    try:
        if extra["format"] != _FORMAT:
            raise DataError(f"was written in format {extra['format']}: expected {_FORMAT}", path=directory)
        model = TrainedModel(
            estimator=loaded.estimator,
            encoder=encoder_from_json(extra["encoder"]),
            classes=_names(extra["classes"]),
            label=_name(extra["label"]),
            frequencies=np.asarray(loaded.extra_tensors["frequencies"], np.float64),
            source=str(extra["source"]),
            ignored=tuple(_names(extra["ignored"])),
            missing=tuple(_names(extra["missing"])),
            label_probs=tuple(_names(extra["label_probs"])),
        )
        _refuse_misfits(model)
    except DataError:
        raise
    except MISFITS as error:
        raise DataError(f"is not a model written by crossent train ({error!r})", path=directory) from error
    return model


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{str(name)[:60]}: expected the name of the label's column")
    return name


def _names(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{str(names)[:60]}: expected a list of names")
    return names


def _refuse_misfits(model: TrainedModel) -> None:
    """Raise where the parts of a model do not fit each other."""
    n_features, n_classes = model.estimator.n_features_in_, len(model.estimator.classes_)
    if width(model.encoder) != n_features:
        raise ValueError(f"the encoder makes {width(model.encoder)} features, the classifier takes {n_features}")
    if len(model.classes) != n_classes or model.frequencies.shape != (n_classes,):
        raise ValueError(f"there are names or frequencies of {len(model.classes)} classes, expected {n_classes}")
    if not (np.isfinite(model.frequencies).all() and (model.frequencies >= 0).all()):
        raise ValueError("a frequency of a class is no number of 0 or more")
