"""The rows of a training run: read, held out, encoded, each set of them with its truth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossent.cli.options import Options
from crossent.cli.values import EXACT_PARAMETERS
from crossent.data import Dataset, read_dataset, stratified_holdout
from crossent.data.bad_rows import BadRows
from crossent.data.builtin import NAMES
from crossent.data.encoder import Encoder, fit_encoder, width
from crossent.data.labels import drop_missing_labels, find_classes, true_labels, true_probs
from crossent.data.shuffled_rows import ShuffledRows
from crossent.data.tables import SVMLIGHT, table_suffix
from crossent.errors import DataError, invalid_value

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True)
class Part:
    """Rows of one purpose, encoded."""

    dataset: Dataset
    x: NDArray[np.float32] | sp.csr_matrix
    y: NDArray[np.int64]
    probs: NDArray[np.float64] | None

    @property
    def truth(self) -> NDArray[np.int64] | NDArray[np.float64]:
        """What to fit: the labels, or the probabilities that a row has in their place."""
        return self.y if self.probs is None else self.probs

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Rows:
    """All rows of a run.

    Attributes
    ----------
    parts : dict of str to Part
        "training" and, where they are held out, "validation" and "test". Of streamed rows a sample of each.
    frequencies : float64 array of shape (C,)
        The share of each class in training.
    shuffled : ShuffledRows, optional
        All training rows, where they are streamed.
    n_training : int, optional
        How many training rows there are, where other processes hold some of them.
    solver : str, optional
        That was asked for, or that suits the rows.
    """

    parts: dict[str, Part]
    encoder: Encoder
    classes: list[str]
    label: str
    frequencies: NDArray[np.float64]
    notes: list[str]
    shuffled: ShuffledRows | None = None
    n_training: int | None = None
    solver: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each part has."""
        counts = {name: len(part) for name, part in self.parts.items()}
        total = self.n_training if self.shuffled is None else self.shuffled.n_rows
        return counts if total is None else counts | {"training": total}

    @property
    def scored(self) -> str:
        """The part that the model is judged by: the one that had least to do with it."""
        return next((name for name in ("test", "validation") if name in self.parts), "training")


def read_whole(options: Options) -> Rows:
    """Read the file or files, hold out, and encode by what the training rows hold."""
    notes: list[str] = []
    datasets, classes, solver = _read(options, notes)
    encoder = fit_encoder(datasets["training"], options.categorical, options.text, options.text_features)
    notes += encoder.notes
    label = label_name(options)
    if isinstance(options.test, str):
        datasets["test"] = read_test(options, encoder.text_columns, notes)
    parts = {name: encode(dataset, encoder, classes, label, notes) for name, dataset in datasets.items()}
    training = parts["training"]
    frequencies = class_mass(training.truth, training.dataset.weights, len(classes))
    return Rows(parts, encoder, classes, label, frequencies / frequencies.sum(), notes, solver=solver)


def label_name(options: Options) -> str:
    """Return the label column's name, or raise where a table's is not given."""
    if options.data in NAMES:
        return "label"
    if table_suffix(Path(options.data)) == ".npz":
        if options.label not in (None, "y"):
            raise invalid_value("--label", options.label, "y, the array of labels of an .npz file")
        return "y"
    if table_suffix(Path(options.data)) in SVMLIGHT:
        if options.label is not None:
            raise invalid_value("--label", options.label, "none: the lines of a libsvm file begin with their label")
        return "label"
    if options.label_probs:
        if options.label is not None:
            raise ValueError("--label and --label-probs are both given: rows have either a label or probabilities")
        return "label-probs"
    if options.label is None:
        raise ValueError("--label is missing: name the column to predict (or --label-probs, its probabilities)")
    return options.label


def _read(options: Options, notes: list[str]) -> tuple[dict[str, Dataset], list[str], str | None]:
    label = label_name(options)
    column = label if options.label is not None else None
    reading: dict[str, Any] = {
        "label": column,
        "label_probs": options.label_probs,
        "weight": options.sample_weight,
        "drop": options.drop,
        "text_columns": (*options.categorical, *options.text),
        "missing": options.missing,
        "data_dir": options.data_dir,
    }
    bad_rows = BadRows(options.data) if options.skip_bad_rows else None
    rest = labelled(read_dataset(options.data, bad_rows=bad_rows, **reading), options, notes)
    note_bad_rows(bad_rows, notes)
    classes = find_classes(rest, label)
    datasets: dict[str, Dataset] = {}
    rng = np.random.default_rng(options.seed)
    # A test file is read later, once it is known which of its columns are text.
    if options.test is None and options.data in NAMES:
        datasets["test"] = read_test(options, reading["text_columns"], notes)
    elif isinstance(options.test, float) and options.test:
        rest, datasets["test"] = _hold_out(rest, classes, label, options.test, rng, "--test")
    if options.chooses_solver and _n_parameters(rest, classes, options) <= EXACT_PARAMETERS:
        options = replace(options, solver="exact")
    if options.validation_share:
        rest, datasets["validation"] = _hold_out(rest, classes, label, options.validation_share, rng, "--validation")
    return {"training": rest, **datasets}, classes, options.solver


def _n_parameters(dataset: Dataset, classes: list[str], options: Options) -> int:
    """Return how many weights and biases a linear model of these rows has."""
    encoder = fit_encoder(dataset, options.categorical, options.text, options.text_features)
    return (width(encoder) + 1) * len(classes)


def read_test(options: Options, text_columns: Collection[str], notes: list[str]) -> Dataset:
    """Read the test file, or the test part of a built-in set."""
    path = options.data if options.test is None else str(options.test)
    bad_rows = BadRows(path) if options.skip_bad_rows else None
    dataset = read_dataset(
        path,
        part="test",
        label=options.label,
        label_probs=options.label_probs,
        weight=options.sample_weight,
        text_columns=text_columns,
        missing=options.missing,
        data_dir=options.data_dir,
        bad_rows=bad_rows,
    )
    note_bad_rows(bad_rows, notes)
    return labelled(dataset, options, notes)


def note_bad_rows(bad_rows: BadRows | None, notes: list[str]) -> None:
    note = None if bad_rows is None else bad_rows.note()
    if note is not None:
        notes.append(note)


def labelled(dataset: Dataset, options: Options, notes: list[str]) -> Dataset:
    if not options.drop_missing_label:
        return dataset
    kept, n = drop_missing_labels(dataset)
    if n:
        notes.append(f"{dataset.name}: {n} rows without a label left out")
    return kept


def _hold_out(
    dataset: Dataset, classes: list[str], label: str, share: float, rng: np.random.Generator, option: str
) -> tuple[Dataset, Dataset]:
    kept, held_out = stratified_holdout(true_labels(dataset, classes, label), share, rng)
    if len(held_out) == 0:
        raise DataError(f"{option} {share} of {len(dataset)} rows holds no row out", path=dataset.name)
    return dataset.take(kept), dataset.take(held_out)


def encode(dataset: Dataset, encoder: Encoder, classes: list[str], label: str, notes: list[str]) -> Part:
    encoded = encoder.transform(dataset)
    for column, n in encoded.unknown.items():
        notes.append(f"column {column!r}: {n} held-out rows have categories that no training row has")
    return Part(dataset, encoded.x, true_labels(dataset, classes, label), true_probs(dataset, classes))


def class_mass(
    truth: NDArray[np.int64] | NDArray[np.float64], weights: NDArray[np.float64] | None, n_classes: int
) -> NDArray[np.float64]:
    """Return the summed weight of each class."""
    if truth.ndim == 1:
        return np.bincount(truth.astype(np.int64, copy=False), weights, n_classes).astype(np.float64)
    return np.asarray(truth.sum(axis=0) if weights is None else weights @ truth, np.float64)
