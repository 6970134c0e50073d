"""The rows of a training run under torchrun: every process reads and encodes its part of the file."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from crossent.cli.options import Options
from crossent.cli.training_rows import Part, Rows, class_mass, encode, label_name, read_test
from crossent.data import Dataset, stratified_holdout
from crossent.data.bad_rows import BadRows
from crossent.data.builtin import NAMES
from crossent.data.encoder import fit_encoder
from crossent.data.labels import LabelFit, drop_missing_labels, true_labels
from crossent.data.shares import read_share, rows_before, whole_of
from crossent.errors import DataError
from crossent.ranks import Ranks


def read_spread(options: Options, ranks: Ranks) -> Rows:
    """Read this process's rows; what is decided by all rows is decided by those of all processes.

    The held-out rows are whole in every process, the training rows are its own. The classes, the rows that are held
    out and the encoder are those of one process, but for the rounding of a sum.
    """
    notes: list[str] = []
    rest = _read(options, ranks, notes)
    label = label_name(options)
    labels = LabelFit()
    ranks.together(lambda: labels.add(rest))
    labels.share(ranks)
    classes = labels.classes(label)
    rest, held_out = _hold_out(options, ranks, rest, classes, label)
    encoder = fit_encoder(rest, options.categorical, options.text, options.text_features, ranks)
    notes += encoder.notes
    if ranks.rank == 0 and (isinstance(options.test, str) or (options.test is None and options.data in NAMES)):
        held_out["test"] = None  # which the first process alone looks at
    parts: dict[str, Part] = {}

    def encode_all() -> None:
        parts["training"] = encode(rest, encoder, classes, label, notes)
        for name, dataset in held_out.items():
            rows = dataset
            if rows is None:
                rows = read_test(options, encoder.text_columns, notes)
            parts[name] = encode(rows, encoder, classes, label, notes)

    ranks.together(encode_all)
    training = parts["training"]
    frequencies = class_mass(training.truth, training.dataset.weights, len(classes))
    ranks.sum(frequencies)
    total = rows_before(rest, ranks)[1]
    return Rows(parts, encoder, classes, label, frequencies / frequencies.sum(), notes, n_training=total)


def _read(options: Options, ranks: Ranks, notes: list[str]) -> Dataset:
    bad_rows = BadRows(options.data) if options.skip_bad_rows else None
    label = label_name(options)
    dataset = read_share(
        options.data,
        ranks,
        label=label if options.label is not None else None,
        label_probs=options.label_probs,
        weight=options.sample_weight,
        drop=options.drop,
        text_columns=(*options.categorical, *options.text),
        missing=options.missing,
        data_dir=options.data_dir,
        bad_rows=bad_rows,
    )
    if options.drop_missing_label:
        dataset, n_dropped = ranks.together(lambda: drop_missing_labels(dataset))
        if n := sum(ranks.gather_json(n_dropped)):
            notes.append(f"{dataset.name}: {n} rows without a label left out")
    if bad_rows is not None:
        bad_rows.share(ranks)
        if (note := bad_rows.note()) is not None:
            notes.append(note)
    return dataset


def _hold_out(
    options: Options, ranks: Ranks, rest: Dataset, classes: list[str], label: str
) -> tuple[Dataset, dict[str, Any]]:
    """Hold out the rows that one process with all rows would."""
    rng, held_out = np.random.default_rng(options.seed), dict[str, Any]()
    shares = {"test": options.test if isinstance(options.test, float) else 0.0, "validation": options.validation_share}
    for name, share in shares.items():
        if not share:
            continue
        own = ranks.together(partial(true_labels, rest, classes, label))
        kept, held = stratified_holdout(np.concatenate(ranks.gather(own)), share, rng)
        before, total = rows_before(rest, ranks)
        if len(held) == 0:
            raise DataError(f"--{name} {share} of {total} rows holds no row out", path=rest.name)
        here, there = (index[(index >= before) & (index < before + len(rest))] - before for index in (kept, held))
        held_out[name] = whole_of(rest.take(there), ranks)
        rest = rest.take(here)
    return rest, held_out
