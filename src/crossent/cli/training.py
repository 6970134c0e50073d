"""A training run from the options to the model's directory, told on the terminal as it goes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossent.cli import comparison, console
from crossent.cli.options import Options
from crossent.cli.progress import Progress
from crossent.cli.training_rows import Part, Rows, read_rows
from crossent.data import TrainedModel, save_trained
from crossent.errors import DataError
from crossent.estimators.softmax_classifier import SoftmaxClassifier
from crossent.report import Evaluation, History, Report, write_report
from crossent.report.numbers import count


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
    rows = read_rows(options)
    if not options.quiet:
        for text in rows.notes:
            console.note(text)
        _say_start(options, rows)
    fit_start = time.perf_counter()
    estimator, interrupted = _fit(options, rows.parts, Progress(quiet=options.quiet))
    fit_seconds = time.perf_counter() - fit_start
    model = TrainedModel(
        estimator=estimator,
        encoder=rows.encoder,
        classes=rows.classes,
        label=rows.label,
        frequencies=rows.frequencies,
        source=Path(options.data).name,
        ignored=(*options.drop, *((options.sample_weight,) if options.sample_weight else ())),
        missing=options.missing,
        label_probs=options.label_probs,
    )
    save_trained(options.out, model)
    part = rows.parts[rows.scored]
    logits = model.logits_of(part.x)
    evaluation = Evaluation(logits, part.y, rows.classes, model.frequencies, part.dataset.weights, part.probs)
    facts = _facts(options, rows, estimator, time.perf_counter() - start)
    report = _report(options, evaluation, rows, estimator, facts)
    if not options.quiet:
        _say_end(options, evaluation, rows.scored, facts, report, interrupted)
    if options.compare is not None and not interrupted:
        _compare(comparison.of_evaluation("crossent", fit_seconds, evaluation), rows)
    return Outcome(model, evaluation, rows.scored, report, interrupted)


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


def _compare(ours: comparison.Contender, rows: Rows) -> None:
    from rich.console import Console

    console.note("fitting scikit-learn's LogisticRegression on the same rows")
    theirs = comparison.logistic_regression(
        rows.parts["training"], rows.parts[rows.scored], rows.classes, rows.frequencies
    )
    print()
    Console().print(comparison.table([ours, theirs], rows.scored))


def _say_start(options: Options, rows: Rows) -> None:
    parts = rows.parts
    held_out = "".join(f", {count(len(part))} for {name}" for name, part in parts.items() if name != "training")
    print(
        f"{options.data}: {count(len(parts['training']))} rows for training{held_out}; "
        f"{count(len(rows.encoder.feature_names))} features, {count(len(rows.classes))} classes",
        flush=True,
    )


def _facts(options: Options, rows: Rows, estimator: SoftmaxClassifier, seconds: float) -> list[tuple[str, str]]:
    layers = [len(rows.encoder.feature_names), *options.hidden, len(estimator.classes_)]
    kept = [("epoch kept", str(estimator.best_iter_))] if estimator.best_iter_ != estimator.n_iter_ else []
    facts = [
        ("data", options.data),
        *((f"rows for {name}", count(len(part))) for name, part in rows.parts.items()),
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
    rows: Rows,
    estimator: SoftmaxClassifier,
    facts: list[tuple[str, str]],
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
        part=f"{rows.scored} rows",
        evaluation=evaluation,
        dataset=rows.parts[rows.scored].dataset,
        history=history,
        facts=facts,
        notes=rows.notes,
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
