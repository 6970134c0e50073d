"""``crossent demo``: a network on real images, its scores, its report, and one prediction explained."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crossent.report import Evaluation


def command(
    out: Annotated[Path, typer.Option(help="Directory of the model and its report.")] = Path("demo"),
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the files of Fashion-MNIST.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed and threads, same model.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default: 1.")] = None,
) -> None:
    """Train a network of 128 hidden units on Fashion-MNIST (digits where it is absent) and explain a prediction.

    Example:

        crossent demo --out demo
    """
    from crossent.cli.options import Options
    from crossent.cli.training import train_and_tell

    data = _chosen_set(data_dir)
    options = Options(data, out=out / "model", seed=seed, threads=threads, data_dir=data_dir)
    out.mkdir(parents=True, exist_ok=True)
    outcome = train_and_tell(options)
    if outcome is None:
        return  # one of several processes, of which the first shows it
    if outcome.interrupted:
        raise typer.Exit(130)
    _explain(options.out, data, _typical_mistake(outcome.evaluation), data_dir)
    crossent = _command_name()
    print(
        f"Open {outcome.report} in a browser. Then try:\n"
        f"  {crossent} explain --model {options.out} --data {data} --row 1\n"
        f"  {crossent} evaluate {options.out} {data}\n"
        f"  {crossent} predict {options.out} {data} --out {out}/predictions.csv\n"
        f"  {crossent} explain --probs dog=0.5,cat=0.49,bird=0.01 --label dog\n"
        f"  {crossent} train YOUR.csv --label COLUMN"
    )


def _chosen_set(data_dir: Path | None) -> str:
    from crossent.data.builtin import fashion_folder
    from crossent.errors import DataError

    try:
        fashion_folder(data_dir)
    except DataError as absent:
        if data_dir is not None:
            raise
        print(f"Training on scikit-learn's digits instead: {absent}")
        return "digits"
    return "fashion-mnist"


def _typical_mistake(evaluation: Evaluation) -> int:
    """Return the row, counted from 1, of the wrong prediction with the median loss; row 1 where none is wrong."""
    import numpy as np

    wrong = np.flatnonzero(evaluation.predictions != evaluation.labels)
    if len(wrong) == 0:
        return 1
    by_loss = wrong[np.argsort(evaluation.losses[wrong], kind="stable")]
    return int(by_loss[len(by_loss) // 2]) + 1


def _command_name() -> str:
    """Return how to call the command from here: by its name, or by its path where the shell does not find it."""
    installed = Path(sys.executable).with_name("crossent")
    if shutil.which("crossent") is not None or not installed.exists():
        return "crossent"
    return os.path.relpath(installed)


def _explain(model: Path, data: str, row: int, data_dir: Path | None) -> None:
    from rich.console import Console

    from crossent.data import load_trained
    from crossent.explanation.prediction import explain

    trained = load_trained(model)
    logits, label = trained.logits_of_row(data, row, data_dir=data_dir)
    assert label is not None  # every row of the built-in sets has one
    print(f"\nA typical mistake (its loss is the median of all), row {row} of the test part, explained:\n")
    Console().print(explain(logits=logits, target=label, classes=trained.classes))
