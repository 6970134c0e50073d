"""A training run from the options to the model's directory, told on the terminal as it goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from crossent.cli import comparison, console
from crossent.cli.options import Options
from crossent.cli.progress import Progress
from crossent.cli.spread_rows import read_spread
from crossent.cli.spread_run import Place
from crossent.cli.streamed_rows import is_streamed, read_streamed
from crossent.cli.training_rows import Rows, read_whole
from crossent.cli.unfinished import Unfinished
from crossent.data import TrainedModel, save_trained
from crossent.errors import DataError
from crossent.estimators.model_files import UNFINISHED
from crossent.estimators.parameters import check_parameters
from crossent.estimators.softmax_model import SoftmaxModel
from crossent.ranks import closing_group
from crossent.report import Evaluation, History, Report, write_report
from crossent.report.numbers import count

_OTHER_NAMES = {"hidden_layer_sizes": "hidden", "max_epochs": "epochs", "early_stopping": "patience"}
_OURS = (".json", ".safetensors", ".html")


@dataclass(frozen=True)
class Outcome:
    """What a run made; ``scored`` says which rows the evaluation is of."""

    model: TrainedModel
    evaluation: Evaluation
    scored: str
    report: Path | None
    interrupted: bool


def train_and_tell(options: Options) -> Outcome | None:
    """Read, hold out, encode, train, save, score and report; of several processes the first returns what came of it."""
    with closing_group():
        place = Place()
        try:
            return _train_and_tell(options, place)
        except (ValueError, TypeError, OSError):
            if place.is_first:
                raise
            raise SystemExit(2) from None  # what is wrong here is wrong, and said, in the first one too


def _train_and_tell(options: Options, place: Place) -> Outcome | None:
    start = time.perf_counter()
    unfinished = Unfinished(options.out)
    options = place.options(options, unfinished)
    place.once(lambda: check_directory(options.out))
    place.together(lambda: check_options(options))
    place.once(lambda: unfinished.check(options))
    progress = Progress(quiet=options.quiet)
    interrupted, fit_seconds = False, 0.0
    try:
        rows = _read(options, unfinished, place)
        if not options.quiet:
            for text in rows.notes:
                console.note(text)
            _say_start(options, rows)
        place.once(lambda: unfinished.begin(options))
        options = replace(options, solver=rows.solver or options.solver)
        fit_start = time.perf_counter()
        estimator, interrupted = _fit(options, rows, progress, unfinished.checkpoint, place)
        fit_seconds = time.perf_counter() - fit_start
    except BaseException:
        if place.is_first:
            unfinished.stop()
        raise
    if not place.is_first:
        return None
    resumable = interrupted and unfinished.stop()
    model = _model(options, rows, estimator)
    save_trained(options.out, model)
    if not interrupted:
        unfinished.delete()
    part = rows.parts[rows.scored]
    logits = model.logits_of(part.x)
    evaluation = Evaluation(logits, part.y, rows.classes, model.frequencies, part.dataset.weights, part.probs)
    facts = _facts(options, rows, estimator, time.perf_counter() - start)
    report = _report(options, evaluation, rows, estimator, facts)
    if not options.quiet:
        _say_end(options, evaluation, rows.scored, facts, report)
        if interrupted:
            print("stopped: the best model so far is kept" + ((resumable and "; --resume goes on from here") or ""))
    if options.compare is not None and not interrupted:
        _compare(comparison.of_evaluation("crossent", fit_seconds, evaluation), rows)
    return Outcome(model, evaluation, rows.scored, report, interrupted)


def _read(options: Options, unfinished: Unfinished, place: Place) -> Rows:
    if place.ranks is not None:
        return read_spread(options, place.ranks)
    return read_streamed(options, unfinished.rows) if is_streamed(options) else read_whole(options)


def _model(options: Options, rows: Rows, estimator: SoftmaxModel) -> TrainedModel:
    return TrainedModel(
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


def check_directory(out: Path) -> None:
    """Refuse, before any work, a directory that cannot take a model or holds something else."""
    if out.exists() and not out.is_dir():
        raise DataError("is a file: expected a directory for the model", path=out)
    if out.is_dir():
        foreign = [p.name for p in out.iterdir() if p.suffix not in _OURS and p.name != UNFINISHED]
        if foreign:
            raise DataError(f"holds other files ({sorted(foreign)[0]}): choose a new --out", path=out)
    elif not out.parent.is_dir():
        raise DataError(f"there is no folder {out.parent}", path=out)


def check_options(options: Options) -> None:
    """Refuse, before any work, what the classifier could not use; its parameters have the options' names."""
    try:
        check_parameters(SoftmaxModel(**options.parameters()))
    except (ValueError, TypeError) as error:
        name, _, rest = str(error).partition(" ")
        raise ValueError(f"--{_OTHER_NAMES.get(name, name).replace('_', '-')} {rest}") from error
    if options.solver == "exact" and (options.resume or is_streamed(options)):
        wrong = "--resume" if options.resume else "--stream"
        raise ValueError(f"{wrong} is for --solver sgd: the exact solver takes all rows from memory, in one run")


def _fit(options: Options, rows: Rows, progress: Progress, checkpoint: Path, place: Place) -> tuple[SoftmaxModel, bool]:
    estimator = SoftmaxModel(**options.parameters(rows.classes), callbacks=[progress])
    estimator.distributed = place.ranks is not None
    training, validation = rows.parts["training"], rows.parts.get("validation")
    if options.solver == "exact":
        # It has no epoch to choose, and ends too soon to be worth resuming.
        validation = validation if options.calibrate else None
    else:
        estimator.checkpoint = checkpoint
    held_out = None
    if validation is not None:
        here = place.own(len(validation))
        held_out = validation.x[here], validation.truth[here]
    # The classes are numbered: one may be no training row's, or no row's most probable one.
    classes = range(len(rows.classes))
    try:
        with progress:
            if rows.shuffled is not None:
                estimator.fit_stream(rows.shuffled.batches, classes=classes, validation=held_out)
            else:
                weights = training.dataset.weights
                estimator.fit(training.x, training.truth, weights, classes=classes, validation=held_out)
    except KeyboardInterrupt:
        if not hasattr(estimator, "coefs_"):
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
    counts = rows.counts
    held_out = "".join(f", {count(n)} for {name}" for name, n in counts.items() if name != "training")
    streamed = ", streamed" if rows.shuffled is not None else ""
    print(
        f"{options.data}{streamed}: {count(counts['training'])} rows for training{held_out}; "
        f"{count(len(rows.encoder.feature_names))} features, {count(len(rows.classes))} classes",
        flush=True,
    )


def _facts(options: Options, rows: Rows, estimator: SoftmaxModel, seconds: float) -> list[tuple[str, str]]:
    layers = [len(rows.encoder.feature_names), *options.hidden, len(estimator.classes_)]
    kept = [("epoch kept", str(estimator.best_iter_))] if estimator.best_iter_ != estimator.n_iter_ else []
    facts = [
        ("data", options.data),
        *((f"rows for {name}", count(n)) for name, n in rows.counts.items()),
        ("classes", count(len(estimator.classes_))),
        ("layers", " → ".join(map(str, layers))),
        *(
            [("solver", "exact"), ("iterations", str(estimator.n_iter_))]
            if options.solver == "exact"
            else [("epochs", str(estimator.n_iter_)), *kept, ("step size", f"{estimator.learning_rate_:.3g}")]
        ),
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
    estimator: SoftmaxModel,
    facts: list[tuple[str, str]],
) -> Path | None:
    if not options.report:
        return None
    history = History(
        list(estimator.loss_curve_),
        list(getattr(estimator, "validation_scores_", None) or []),
        list(getattr(estimator, "validation_accuracies_", None) or []),
        estimator.best_iter_ if estimator.n_iter_ and options.validation_share else None,
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
) -> None:
    shown = dict(facts)
    names = ("layers", "solver", "iterations", "epochs", "epoch kept", "step size", "seconds")
    rows = [(name, shown[name]) for name in names if name in shown]
    rows += console.score_rows(evaluation, scored)
    if scored == "validation" and options.solver != "exact":
        rows.append(("", "the validation rows chose the epoch, so their scores flatter: give --test"))
    elif scored == "training":
        rows.append(("", "the model was fitted to these rows, so their scores flatter: give --test"))
    rows.append(("model", str(options.out)))
    if report is not None:
        rows.append(("report", str(report)))
    print()
    console.print_rows(rows)
