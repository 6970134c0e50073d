"""A training run from the options to the model's directory, told on the terminal as it goes."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossent.cli import console
from crossent.cli.progress import Progress
from crossent.data import Dataset, TrainedModel, read_dataset, save_trained, stratified_holdout
from crossent.data.bad_rows import BadRows
from crossent.data.builtin import NAMES
from crossent.data.encoder import Encoder, fit_encoder
from crossent.data.labels import drop_missing_labels, find_classes, true_labels, true_probs
from crossent.data.tables import SVMLIGHT, table_suffix
from crossent.data.text import TEXT_FEATURES
from crossent.errors import DataError, invalid_value
from crossent.estimators.softmax_classifier import SoftmaxClassifier
from crossent.report import Evaluation, History, Report, write_report
from crossent.report.numbers import count

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True)
class Options:
    """What ``crossent train`` was asked for; None leaves the choice to the classifier."""

    data: str
    label: str | None = None
    label_probs: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    text_features: int = TEXT_FEATURES
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    drop_missing_label: bool = False
    skip_bad_rows: bool = False
    sample_weight: str | None = None
    hidden: tuple[int, ...] = (128,)
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | str = "auto"
    alpha: float | None = None
    class_weight: str | None = None
    label_smoothing: float = 0.0
    validation: float = 0.1
    patience: int | None = None
    test: str | float | None = None
    out: Path = Path("model")
    report: bool = True
    seed: int = 0
    threads: int | None = None
    data_dir: Path | None = None
    quiet: bool = False


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
class Outcome:
    """What a run made; ``scored`` says which rows the evaluation is of."""

    model: TrainedModel
    evaluation: Evaluation
    scored: str
    report: Path | None
    interrupted: bool


def train_and_tell(options: Options) -> Outcome:
    """Read, hold out, encode, train, save, score and report."""
    start = time.perf_counter()
    check_directory(options.out)
    notes: list[str] = []
    datasets, classes = _read(options, notes)
    encoder = fit_encoder(datasets["training"], options.categorical, options.text, options.text_features)
    notes += encoder.notes
    label = label_name(options)
    if isinstance(options.test, str):
        datasets["test"] = _read_test(options, options.test, encoder.text_columns, notes)
    parts = {name: _encode(dataset, encoder, classes, label, notes) for name, dataset in datasets.items()}
    if not options.quiet:
        for text in notes:
            console.note(text)
        _say_start(options, parts, classes, len(encoder.feature_names))
    progress = Progress(quiet=options.quiet)
    estimator, interrupted = _fit(options, parts, progress)
    model = TrainedModel(
        estimator=estimator,
        encoder=encoder,
        classes=classes,
        label=label,
        frequencies=_frequencies(parts["training"], len(classes)),
        source=Path(options.data).name,
        ignored=(*options.drop, *((options.sample_weight,) if options.sample_weight else ())),
        missing=options.missing,
        label_probs=options.label_probs,
    )
    save_trained(options.out, model)
    scored = next((name for name in ("test", "validation") if name in parts), "training")
    part = parts[scored]
    logits = model.logits_of(part.x)
    evaluation = Evaluation(logits, part.y, classes, model.frequencies, part.dataset.weights, part.probs)
    facts = _facts(options, parts, encoder, estimator, time.perf_counter() - start)
    report = _report(options, evaluation, part.dataset, scored, estimator, facts, notes)
    if not options.quiet:
        _say_end(options, evaluation, scored, facts, report, interrupted)
    return Outcome(model, evaluation, scored, report, interrupted)


def check_directory(out: Path) -> None:
    """Refuse, before any work, a directory that cannot take a model or holds something else."""
    if out.exists() and not out.is_dir():
        raise DataError("is a file: expected a directory for the model", path=out)
    if out.is_dir():
        foreign = [p.name for p in out.iterdir() if p.suffix not in (".json", ".safetensors", ".html")]
        if foreign:
            raise DataError(f"holds other files ({sorted(foreign)[0]}): choose a new --out", path=out)
    elif not out.parent.is_dir():
        raise DataError(f"there is no folder {out.parent}", path=out)


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


def _read(options: Options, notes: list[str]) -> tuple[dict[str, Dataset], list[str]]:
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
    rest = _labelled(read_dataset(options.data, bad_rows=bad_rows, **reading), options, notes)
    _note_bad_rows(bad_rows, notes)
    classes = find_classes(rest, label)
    datasets: dict[str, Dataset] = {}
    rng = np.random.default_rng(options.seed)
    # A test file is read later, once it is known which of its columns are text.
    if options.test is None and options.data in NAMES:
        datasets["test"] = read_dataset(options.data, part="test", **reading)
    elif isinstance(options.test, float) and options.test:
        rest, datasets["test"] = _hold_out(rest, classes, label, options.test, rng, "--test")
    if options.validation:
        rest, datasets["validation"] = _hold_out(rest, classes, label, options.validation, rng, "--validation")
    return {"training": rest, **datasets}, classes


def _read_test(options: Options, path: str, text_columns: Collection[str], notes: list[str]) -> Dataset:
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
    _note_bad_rows(bad_rows, notes)
    return _labelled(dataset, options, notes)


def _note_bad_rows(bad_rows: BadRows | None, notes: list[str]) -> None:
    note = None if bad_rows is None else bad_rows.note()
    if note is not None:
        notes.append(note)


def _labelled(dataset: Dataset, options: Options, notes: list[str]) -> Dataset:
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


def _encode(dataset: Dataset, encoder: Encoder, classes: list[str], label: str, notes: list[str]) -> Part:
    encoded = encoder.transform(dataset)
    for column, n in encoded.unknown.items():
        notes.append(f"column {column!r}: {n} held-out rows have categories that no training row has")
    return Part(dataset, encoded.x, true_labels(dataset, classes, label), true_probs(dataset, classes))


def _fit(options: Options, parts: dict[str, Part], progress: Progress) -> tuple[SoftmaxClassifier, bool]:
    chosen = {
        "alpha": options.alpha,
        "batch_size": options.batch_size,
        "max_epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "class_weight": options.class_weight,
        "label_smoothing": options.label_smoothing,
        "n_threads": options.threads,
        "random_state": options.seed,
        "callbacks": [progress],
        # Without a given patience the step falls to its end, and the best epoch on the way is kept: while the
        # step is large the validation loss rises and falls by chance, and stopping then loses the best part.
        "early_stopping": options.patience is not None,
        "n_iter_no_change": options.patience,
    }
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    estimator = SoftmaxClassifier(options.hidden, **given)
    training, validation = parts["training"], parts.get("validation")
    held_out = None if validation is None else (validation.x, validation.truth)
    try:
        with progress:
            # The classes are numbered: a class of probabilities may be no row's most probable one.
            classes = None if training.probs is None else range(training.probs.shape[1])
            estimator.fit(training.x, training.truth, training.dataset.weights, classes=classes, validation=held_out)
    except KeyboardInterrupt:
        if not hasattr(estimator, "classes_"):
            raise  # stopped before there was a model
        return estimator, True
    return estimator, False


def _frequencies(part: Part, n_classes: int) -> NDArray[np.float64]:
    mass: NDArray[np.float64]
    if part.probs is None:
        mass = np.asarray(np.bincount(part.y, part.dataset.weights, n_classes), np.float64)
    else:
        mass = np.asarray(part.probs.sum(axis=0)) if part.dataset.weights is None else part.dataset.weights @ part.probs
    return np.asarray(mass / mass.sum(), np.float64)


def _say_start(options: Options, parts: dict[str, Part], classes: list[str], n_features: int) -> None:
    held_out = "".join(f", {count(len(part))} for {name}" for name, part in parts.items() if name != "training")
    print(
        f"{options.data}: {count(len(parts['training']))} rows for training{held_out}; "
        f"{count(n_features)} features, {count(len(classes))} classes",
        flush=True,
    )


def _facts(
    options: Options, parts: dict[str, Part], encoder: Encoder, estimator: SoftmaxClassifier, seconds: float
) -> list[tuple[str, str]]:
    layers = [len(encoder.feature_names), *options.hidden, len(estimator.classes_)]
    kept = [("epoch kept", str(estimator.best_iter_))] if estimator.best_iter_ != estimator.n_iter_ else []
    facts = [
        ("data", options.data),
        *((f"rows for {name}", count(len(part))) for name, part in parts.items()),
        ("classes", count(len(estimator.classes_))),
        ("layers", " → ".join(map(str, layers))),
        ("epochs", str(estimator.n_iter_)),
        *kept,
        ("step size", f"{estimator.learning_rate_:.3g}"),
        ("seed", str(options.seed)),
        ("seconds", f"{seconds:.1f}"),
    ]
    if options.sample_weight is not None:
        facts.append(("rows weighted by", options.sample_weight))
    return facts


def _report(
    options: Options,
    evaluation: Evaluation,
    dataset: Dataset,
    scored: str,
    estimator: SoftmaxClassifier,
    facts: list[tuple[str, str]],
    notes: list[str],
) -> Path | None:
    if not options.report:
        return None
    history = History(
        list(estimator.loss_curve_),
        list(getattr(estimator, "validation_scores_", None) or []),
        list(getattr(estimator, "validation_accuracies_", None) or []),
        estimator.best_iter_ if estimator.n_iter_ and options.validation else None,
    )
    report = Report(
        title=Path(options.data).name,
        part=f"{scored} rows",
        evaluation=evaluation,
        dataset=dataset,
        history=history,
        facts=facts,
        notes=notes,
    )
    return write_report(options.out / "report.html", report)


def _say_end(
    options: Options,
    evaluation: Evaluation,
    scored: str,
    facts: list[tuple[str, str]],
    report: Path | None,
    interrupted: bool,
) -> None:
    if interrupted:
        print("stopped: the best model so far is kept")
    shown = dict(facts)
    names = ("layers", "epochs", "epoch kept", "step size", "seconds")
    rows = [(name, shown[name]) for name in names if name in shown]
    rows += console.score_rows(evaluation, scored)
    if scored == "validation":
        rows.append(("", "the validation rows chose the epoch, so their scores flatter: give --test"))
    elif scored == "training":
        rows.append(("", "the model was fitted to these rows, so their scores flatter: give --test"))
    rows.append(("model", str(options.out)))
    if report is not None:
        rows.append(("report", str(report)))
    print()
    console.print_rows(rows)
