"""The rows of a training run on a file larger than memory: two passes over it, and a shuffled copy on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossent.cli.options import Options
from crossent.cli.training_rows import Part, Rows, class_mass, encode, label_name, labelled, note_bad_rows
from crossent.data import Dataset
from crossent.data.bad_rows import BadRows
from crossent.data.builtin import NAMES
from crossent.data.encoder import Encoder, TableEncoder, TableFit
from crossent.data.labels import LabelFit, true_labels, true_probs
from crossent.data.shuffled_rows import ShuffledRows, uniform
from crossent.data.streaming import TableStream
from crossent.errors import DataError, invalid_value
from crossent.report.numbers import count

# Held-out rows are in memory: so many say what the log-loss is to a third of a percent.
HELD_OUT_ROWS = 100_000
# A compressed file is larger once it is read.
_GROWTH = {".gz": 4, ".parquet": 4, ".pq": 4}
_KINDS = ("test", "validation", "training")


def is_streamed(options: Options) -> bool:
    """Whether the file is to be streamed: as asked for, else where it takes more than half of the free memory."""
    if options.stream is not None:
        return options.stream
    path = Path(options.data)
    if options.data in NAMES or not path.is_file() or not TableStream.takes(path):
        return False
    available = available_memory()
    return available is not None and path.stat().st_size * _GROWTH.get(path.suffix.lower(), 1) > available / 2


def available_memory() -> int | None:
    """Return the bytes that new data can have without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def read_streamed(options: Options, folder: Path) -> Rows:
    """Fit the encoder in one pass over the file, and deal the encoded rows to files in ``folder`` in a second."""
    if options.data in NAMES:
        raise invalid_value("--stream", options.data, "a CSV, Parquet or Arrow file: others are read whole")
    if options.compare is not None:
        raise invalid_value("--compare", options.compare, "rows in memory: leave it out with --stream")
    label, notes = label_name(options), list[str]()
    stream = _open(options, options.data, (*options.categorical, *options.text), options.drop)
    stream.survey()
    split = _Split(options, stream.n_rows, notes)
    encoder, classes = _first_pass(options, stream, split, label, notes)
    notes += encoder.notes
    dealt = ShuffledRows(folder, stream.n_rows, options.seed)
    samples = {name: _Sample() for name in _KINDS}
    mass = np.zeros(len(classes))
    for dataset in _labelled_batches(options, stream):
        kinds = split.kinds(dataset.rows)
        for name in split.held_out:
            samples[name].add(dataset.take(np.flatnonzero(kinds == _KINDS.index(name))))
        training = dataset.take(np.flatnonzero(kinds == _KINDS.index("training")))
        encoded = encoder.transform(training)
        truth = _truth(training, classes, label)
        dealt.add(training.rows, encoded.x, truth, training.weights)
        mass += class_mass(truth, training.weights, len(classes))
        samples["training"].add(training.take(split.sampled(training.rows)))
    if isinstance(options.test, str):
        samples["test"] = _test_sample(options, options.test, encoder.text_columns, notes)
    for name in (*split.held_out, "training"):
        if samples[name].dataset() is None:
            raise DataError(f"of {stream.n_rows} rows none is for {name}", path=options.data)
    parts = _parts(samples, encoder, classes, label, notes)
    return Rows(parts, encoder, classes, label, mass / mass.sum(), notes, dealt)


class _Split:
    """Which part a row is of, by a hash of its number."""

    def __init__(self, options: Options, n_rows: int, notes: list[str]) -> None:
        self._seed = options.seed
        most = HELD_OUT_ROWS / n_rows
        test = options.test if isinstance(options.test, float) else 0.0
        shares = {"test": test, "validation": options.validation_share}
        self.held_out = [name for name, share in shares.items() if share]
        for name in self.held_out:
            if shares[name] > most:
                notes.append(
                    f"--{name} {shares[name]:g} of {count(n_rows)} rows: {count(HELD_OUT_ROWS)} are held out, which "
                    "say enough"
                )
        self._bounds = np.cumsum([min(share, most) for share in shares.values()])
        self._sampled = min(1.0, most)

    def kinds(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return each row's part, an index into _KINDS."""
        return np.searchsorted(self._bounds, uniform(rows, self._seed, draw=0), side="right")

    def sampled(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of some rows are in a sample of all that fits into memory."""
        return np.flatnonzero(uniform(rows, self._seed, draw=2) < self._sampled)


class _Sample:
    """Rows that are kept in memory."""

    def __init__(self) -> None:
        self._datasets: list[Dataset] = []

    def add(self, dataset: Dataset) -> None:
        if len(dataset):
            self._datasets.append(dataset)

    def dataset(self) -> Dataset | None:
        return Dataset.concatenated(self._datasets) if self._datasets else None


def _open(options: Options, path: str, text_columns: Collection[str], drop: Collection[str] = ()) -> TableStream:
    return TableStream(
        path,
        label=options.label,
        label_probs=options.label_probs,
        weight=options.sample_weight,
        drop=drop,
        text_columns=text_columns,
        missing=options.missing,
        skip_bad_rows=options.skip_bad_rows,
    )


def _labelled_batches(
    options: Options, stream: TableStream, bad_rows: BadRows | None = None, notes: list[str] | None = None
) -> Iterator[Dataset]:
    n_missing = 0
    for dataset in stream.batches(bad_rows):
        kept = labelled(dataset, options, [])
        n_missing += len(dataset) - len(kept)
        yield kept
    if notes is not None:
        note_bad_rows(bad_rows, notes)
        if n_missing:
            notes.append(f"{stream.path}: {n_missing} rows without a label left out")


def _first_pass(
    options: Options, stream: TableStream, split: _Split, label: str, notes: list[str]
) -> tuple[TableEncoder, list[str]]:
    columns = TableFit(options.categorical, options.text, options.text_features)
    labels = LabelFit()
    weighted = options.sample_weight is None
    for dataset in _labelled_batches(options, stream, BadRows(options.data), notes):
        labels.add(dataset)
        columns.add(dataset.take(np.flatnonzero(split.kinds(dataset.rows) == _KINDS.index("training"))))
        weighted = weighted or bool(dataset.weights is not None and dataset.weights.any())
    if not weighted:
        raise DataError("every sample weight is 0", path=options.data, column=options.sample_weight)
    return columns.encoder(), labels.classes(label)


def _test_sample(options: Options, path: str, text_columns: Collection[str], notes: list[str]) -> _Sample:
    stream, sample, bad_rows = _open(options, path, text_columns), _Sample(), BadRows(path)
    stream.survey()
    share = HELD_OUT_ROWS / stream.n_rows
    if share < 1:
        notes.append(f"{path}: the model is scored on {count(HELD_OUT_ROWS)} of its {count(stream.n_rows)} rows")
    for dataset in _labelled_batches(options, stream, bad_rows, notes):
        sample.add(dataset.take(np.flatnonzero(uniform(dataset.rows, options.seed, draw=3) < share)))
    return sample


def _truth(dataset: Dataset, classes: list[str], label: str) -> NDArray[np.int64] | NDArray[np.float64]:
    probs = true_probs(dataset, classes)
    return true_labels(dataset, classes, label) if probs is None else probs


def _parts(
    samples: dict[str, _Sample], encoder: Encoder, classes: list[str], label: str, notes: list[str]
) -> dict[str, Part]:
    parts = {}
    for name in ("training", "validation", "test"):
        dataset = samples[name].dataset()
        if dataset is not None:
            parts[name] = encode(dataset, encoder, classes, label, notes)
    return parts
