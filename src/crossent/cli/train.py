"""``crossent train``: from a table or images to a model's directory, its scores and its report."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from crossent.errors import invalid_choice, invalid_value

_OWN = "Table columns"
_NET = "Network and training"
_RUN = "Held-out rows and output"


def command(
    data: Annotated[
        str, typer.Argument(help="A CSV, Parquet, Arrow, .npz or libsvm file, or digits or fashion-mnist.")
    ],
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column to predict.", rich_help_panel=_OWN)
    ] = None,
    label_probs: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="In its place, the columns of the classes' probabilities: p_cat,p_dog,…",
            rich_help_panel=_OWN,
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="A column of free text: hashed character n-grams. Repeatable.", rich_help_panel=_OWN
        ),
    ] = None,
    text_features: Annotated[
        int,
        typer.Option(min=1, max=2**28, help="Features that a column of text is hashed to.", rich_help_panel=_OWN),
    ] = 2**15,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave a column out. Repeatable.", rich_help_panel=_OWN),
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Take numbers as categories. Repeatable.", rich_help_panel=_OWN),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A further mark of missing values in a CSV. Repeatable.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    drop_missing_label: Annotated[
        bool,
        typer.Option("--drop-missing-label", help="Leave rows without a label out.", rich_help_panel=_OWN),
    ] = False,
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows",
            help="Leave out, count and tell the rows that cannot be used: too few or too many values, text among "
            "numbers, no label. Otherwise the first of them ends the run.",
            rich_help_panel=_OWN,
        ),
    ] = False,
    sample_weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Weigh the rows by a column.", rich_help_panel=_OWN)
    ] = None,
    hidden: Annotated[
        str,
        typer.Option(
            metavar="UNITS",
            help="Units per hidden layer, as 128 or 256,64; none for a linear model.",
            rich_help_panel=_NET,
        ),
    ] = "128",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training rows, at most.", rich_help_panel=_NET)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step.", rich_help_panel=_NET)] = None,
    learning_rate: Annotated[str, typer.Option(metavar="auto|RATE", help="Step size.", rich_help_panel=_NET)] = "auto",
    alpha: Annotated[
        float | None, typer.Option(min=0, help="Strength of the L2 penalty.", rich_help_panel=_NET)
    ] = None,
    class_weight: Annotated[
        str | None,
        typer.Option(metavar="balanced", help="Give every class the same weight.", rich_help_panel=_NET),
    ] = None,
    label_smoothing: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of truth spread over all classes.", rich_help_panel=_NET),
    ] = 0.0,
    validation: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of rows that choose the epoch; 0: none.", rich_help_panel=_RUN),
    ] = 0.1,
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS",
            min=1,
            help="Stop after so many epochs without a lower validation loss; default: run them all, keep the best.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE|SHARE", help="Rows to score the model on at the end.", rich_help_panel=_RUN),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the model and its report.", rich_help_panel=_RUN)] = Path(
        "model"
    ),
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html.", rich_help_panel=_RUN)
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and threads, same model.", rich_help_panel=_RUN)] = 0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads; default: 1, the quickest on a busy machine.", rich_help_panel=_RUN),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the files of Fashion-MNIST.", rich_help_panel=_RUN)
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="sklearn",
            help="Then fit scikit-learn's LogisticRegression too, and print both times and losses.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.", rich_help_panel=_RUN)] = False,
) -> None:
    """Train a softmax classifier by SGD. Ctrl-C stops and keeps the best model so far.

    Examples:

        crossent train iris.csv --label species --test 0.2

        crossent train clicks.parquet --label bought --drop user_id --hidden none --class-weight balanced

        crossent train fashion-mnist --hidden 128 --epochs 10 --out fashion
    """
    from crossent.cli.options import Options
    from crossent.cli.training import train_and_tell

    options = Options(
        data=data,
        label=label,
        label_probs=_columns(label_probs),
        text=tuple(text or ()),
        text_features=text_features,
        drop=tuple(drop or ()),
        categorical=tuple(categorical or ()),
        missing=tuple(missing or ()),
        drop_missing_label=drop_missing_label,
        skip_bad_rows=skip_bad_rows,
        sample_weight=sample_weight,
        hidden=_layer_sizes(hidden),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=_rate(learning_rate),
        alpha=alpha,
        class_weight=_class_weight(class_weight),
        label_smoothing=label_smoothing,
        validation=_share("--validation", validation),
        patience=_patience(patience, validation),
        test=_test(test),
        out=out,
        report=report,
        seed=seed,
        threads=threads,
        data_dir=data_dir,
        compare=_peer(compare),
        quiet=quiet,
    )
    if train_and_tell(options).interrupted:
        raise typer.Exit(130)


def _layer_sizes(text: str) -> tuple[int, ...]:
    if text.strip().lower() in ("none", "0"):
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise invalid_value("--hidden", text, "layer sizes such as 128 or 256,64, or none")
    return sizes


def _columns(text: str | None) -> tuple[str, ...]:
    names = () if text is None else tuple(next(csv.reader([text])))
    if len(set(names)) < len(names) or any(not name.strip() for name in names):
        raise invalid_value("--label-probs", text, "different columns with commas between")
    return names


def _rate(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < float("inf"):
        raise invalid_value("--learning-rate", text, "auto or a positive number")
    return rate


def _class_weight(text: str | None) -> str | None:
    if text not in (None, "balanced"):
        raise invalid_value("--class-weight", text, "balanced")
    return text


def _peer(name: str | None) -> str | None:
    if name not in (None, "sklearn"):
        raise invalid_choice("--compare", name, ["sklearn"])
    return name


def _share(option: str, share: float) -> float:
    if not 0 <= share < 1:
        raise invalid_value(option, share, "a share of the rows in [0, 1)")
    return share


def _patience(patience: int | None, validation: float) -> int | None:
    if patience is not None and validation == 0:
        raise invalid_value("--patience", patience, "a --validation part to judge by")
    return patience


def _test(text: str | None) -> str | float | None:
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        return text
    return _share("--test", share)
