"""``crossent train``: from a table or images to a model's directory, its scores and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossent.cli import values

_DATA = "Data"
_MODEL = "Model"
_DESCENT = "Training"
_HELD = "Held-out rows"
_RUN = "Run and output"


def _option(panel: str, help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def command(
    data: Annotated[
        str, typer.Argument(help="A CSV, Parquet, Arrow, .npz or libsvm file, or digits or fashion-mnist.")
    ],
    label: Annotated[str | None, _option(_DATA, "The column to predict.", metavar="COLUMN")] = None,
    label_probs: Annotated[
        str | None,
        _option(_DATA, "In its place, the columns of the classes' probabilities: p_cat,p_dog,…", metavar="COLUMNS"),
    ] = None,
    text: Annotated[
        list[str] | None,
        _option(_DATA, "A column of free text: hashed character n-grams. Repeatable.", metavar="COLUMN"),
    ] = None,
    text_features: Annotated[int, _option(_DATA, "Features that a column of text is hashed to.", min=1, max=2**28)] = 2
    ** 15,
    drop: Annotated[list[str] | None, _option(_DATA, "Leave a column out. Repeatable.", metavar="COLUMN")] = None,
    categorical: Annotated[
        list[str] | None, _option(_DATA, "Take numbers as categories. Repeatable.", metavar="COLUMN")
    ] = None,
    missing: Annotated[
        list[str] | None, _option(_DATA, "A further mark of missing values in a CSV. Repeatable.", metavar="TEXT")
    ] = None,
    drop_missing_label: Annotated[
        bool, _option(_DATA, "Leave rows without a label out.", "--drop-missing-label")
    ] = False,
    skip_bad_rows: Annotated[
        bool,
        _option(
            _DATA,
            "Leave out, count and tell the rows that cannot be used: too few or too many values, text among numbers, "
            "no label. Otherwise the first of them ends the run.",
            "--skip-bad-rows",
        ),
    ] = False,
    sample_weight: Annotated[str | None, _option(_DATA, "Weigh the rows by a column.", metavar="COLUMN")] = None,
    stream: Annotated[
        bool | None,
        _option(
            _DATA,
            "Read a table in batches, for one larger than memory; default: where it takes more than half of what is "
            "free. Its rows are then shuffled on disk, in the folder of --out.",
            "--stream/--no-stream",
        ),
    ] = None,
    hidden: Annotated[
        str,
        _option(_MODEL, "Units per hidden layer, as 128 or 256,64; none for a linear model.", metavar="UNITS"),
    ] = "128",
    alpha: Annotated[
        float | None,
        _option(
            _MODEL,
            "Strength of the penalty on the weights; default: 1 / rows, or 5 / rows with hidden layers, at most 1e-4.",
        ),
    ] = None,
    l1_ratio: Annotated[
        float | None, _option(_MODEL, "Share of the penalty on absolute values (L1), not squares (L2).")
    ] = None,
    dropout: Annotated[float | None, _option(_MODEL, "Share of the hidden units left out of each step.")] = None,
    class_weight: Annotated[
        str | None,
        _option(
            _MODEL,
            "balanced gives every class the same weight; cat=2,dog=0.5 gives some their own.",
            metavar="balanced|CLASS=WEIGHT,…",
        ),
    ] = None,
    label_smoothing: Annotated[float, _option(_MODEL, "Share of truth spread over all classes.", min=0, max=1)] = 0.0,
    center: Annotated[
        bool, _option(_MODEL, "Train on rows minus their mean, or on rows as they are.", "--center/--no-center")
    ] = True,
    feature_rates: Annotated[
        bool,
        _option(
            _DESCENT,
            "A learning rate for every feature by its scale, or one for all.",
            "--feature-rates/--no-feature-rates",
        ),
    ] = True,
    dtype: Annotated[str | None, _option(_MODEL, "Arithmetic: float32 (default) or float64.")] = None,
    solver: Annotated[
        str | None,
        _option(
            _DESCENT,
            "sgd, or exact: a linear model at the minimum of its objective, by L-BFGS on rows in memory. Default: "
            f"exact for up to {values.EXACT_PARAMETERS} weights and biases, where no option of the descent is given.",
            metavar="NAME",
        ),
    ] = None,
    optimizer: Annotated[str | None, _option(_DESCENT, "sgd (default), adam or schedule-free.", metavar="NAME")] = None,
    learning_rate: Annotated[str, _option(_DESCENT, "Step size.", metavar="auto|RATE")] = "auto",
    schedule: Annotated[
        str | None, _option(_DESCENT, "How the step falls: linear (default), constant or cosine.", metavar="NAME")
    ] = None,
    momentum: Annotated[float | None, _option(_DESCENT, "In [0, 1); default: 0.9.")] = None,
    nesterov: Annotated[bool, _option(_DESCENT, "Nesterov's momentum, of sgd only.", "--nesterov")] = False,
    average: Annotated[
        float | None, _option(_DESCENT, "Average the parameters over this last share of the steps.", metavar="SHARE")
    ] = None,
    epochs: Annotated[
        int | None,
        _option(_DESCENT, "Passes over the training rows, at most; default: 10, or 2000 steps.", min=1),
    ] = None,
    batch_size: Annotated[int | None, _option(_DESCENT, "Rows per step; default: 128.", min=1)] = None,
    tol: Annotated[
        float | None,
        _option(
            _DESCENT,
            "Stop when an epoch lowers the loss by less (nats), --patience epochs long; of the validation rows with "
            "--patience, else of the training rows, 5 epochs long.",
            metavar="NATS",
        ),
    ] = None,
    validation: Annotated[
        float | None,
        _option(
            _HELD,
            "Share of rows that choose the epoch; 0: none. Default: 0.1; with --solver exact and a test set 0, unless "
            "they are to --calibrate.",
            metavar="SHARE",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        _option(
            _HELD,
            "Stop after so many epochs without a lower validation loss; default: run them all, keep the best.",
            metavar="EPOCHS",
            min=1,
        ),
    ] = None,
    calibrate: Annotated[
        bool, _option(_HELD, "Fit a temperature to the validation rows after the training.", "--calibrate")
    ] = False,
    test: Annotated[str | None, _option(_HELD, "Rows to score the model on at the end.", metavar="FILE|SHARE")] = None,
    out: Annotated[Path, _option(_RUN, "Directory of the model and its report.")] = Path("model"),
    resume: Annotated[
        bool,
        _option(
            _RUN,
            "Go on with a run into --out that was stopped or killed; the model is that of a run without a break.",
            "--resume",
        ),
    ] = False,
    report: Annotated[bool, _option(_RUN, "Write report.html.", "--report/--no-report")] = True,
    compare: Annotated[
        str | None,
        _option(
            _RUN,
            "Then fit scikit-learn's LogisticRegression too, and print both times and losses.",
            metavar="sklearn",
        ),
    ] = None,
    seed: Annotated[int, _option(_RUN, "Same seed and threads, same model.", min=0)] = 0,
    threads: Annotated[int | None, _option(_RUN, "Threads; default: 1, the quickest on a busy machine.", min=1)] = None,
    data_dir: Annotated[Path | None, _option(_RUN, "Folder with the files of Fashion-MNIST.")] = None,
    quiet: Annotated[bool, _option(_RUN, "Print nothing.", "--quiet", "-q")] = False,
) -> None:
    """Train a softmax classifier by SGD. Ctrl-C stops and keeps the best model so far; --resume goes on from there.

    Examples:

        crossent train iris.csv --label species --test 0.2

        crossent train clicks.parquet --label bought --drop user_id --hidden none --class-weight balanced

        crossent train fashion-mnist --hidden 128 --epochs 10 --out fashion

        crossent train large.csv.gz --label kind --stream --test recent.csv

        torchrun --nproc-per-node 4 -m crossent train many.parquet --label kind
    """
    from crossent.cli.options import Options
    from crossent.cli.training import train_and_tell

    options = Options(
        data=data,
        label=label,
        label_probs=values.columns(label_probs),
        text=tuple(text or ()),
        text_features=text_features,
        drop=tuple(drop or ()),
        categorical=tuple(categorical or ()),
        missing=tuple(missing or ()),
        drop_missing_label=drop_missing_label,
        skip_bad_rows=skip_bad_rows,
        sample_weight=sample_weight,
        stream=stream,
        hidden=values.layer_sizes(hidden),
        alpha=alpha,
        l1_ratio=l1_ratio,
        dropout=dropout,
        class_weight=values.class_weight(class_weight),
        label_smoothing=label_smoothing,
        center=center,
        feature_rates=feature_rates,
        dtype=dtype,
        solver=solver,
        optimizer=optimizer,
        learning_rate=values.rate(learning_rate),
        schedule=schedule,
        momentum=momentum,
        nesterov=nesterov,
        average=average,
        epochs=epochs,
        batch_size=batch_size,
        tol=tol,
        validation=None if validation is None else values.share("--validation", validation),
        patience=values.needs_validation("--patience", patience, validation),
        calibrate=bool(values.needs_validation("--calibrate", calibrate, validation)),
        test=values.test(test),
        out=out,
        resume=resume,
        report=report,
        compare=values.peer(compare),
        seed=seed,
        threads=threads,
        data_dir=data_dir,
        quiet=quiet,
    )
    outcome = train_and_tell(options)
    if outcome is not None and outcome.interrupted:
        raise typer.Exit(130)
