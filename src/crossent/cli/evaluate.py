"""``crossent evaluate``: the scores of a trained model on rows whose labels are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossent.cli import console
from crossent.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossent.data import Dataset, TrainedModel
    from crossent.report import Evaluation, Scores


def command(
    model: Annotated[Path, typer.Argument(help="Directory written by crossent train.")],
    data: Annotated[str, typer.Argument(help="A file with labels, or digits or fashion-mnist (their test part).")],
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the HTML report to this file.")] = None,
    sample_weight: Annotated[str | None, typer.Option(metavar="COLUMN", help="Weigh the rows by a column.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the files of Fashion-MNIST.")] = None,
) -> None:
    """Score a trained model: log-loss, accuracy, Brier score, calibration.

    A table is read in batches, so that it may be larger than memory, unless a report shows its rows.

    Examples:

        crossent evaluate model new.csv

        crossent evaluate model new.parquet --json

        crossent evaluate model fashion-mnist --report report.html
    """
    from crossent.data import load_trained

    trained = load_trained(model)
    scores, kept = evaluate(trained, data, sample_weight, data_dir, keep_rows=report is not None)
    if json:
        import json as json_format

        from crossent.report import summary

        typer.echo(json_format.dumps(summary(scores), indent=2))
    else:
        from crossent.report.numbers import count

        console.print_rows([("rows", count(scores.n_rows)), *console.score_rows(scores, "")])
    if report is not None and kept is not None:
        _write_report(report, model, trained, *kept)
        if not json:
            console.print_rows([("report", str(report))])


def evaluate(
    trained: TrainedModel, data: str, weight: str | None, data_dir: Path | None, *, keep_rows: bool
) -> tuple[Scores, tuple[Dataset, Evaluation] | None]:
    """Return the scores of a model on a file with labels, and its rows and theirs where they are wanted.

    A table is read in batches, of which sums alone stay in memory where the rows are not wanted.
    """
    from crossent.data import Dataset
    from crossent.data.labels import true_labels, true_probs
    from crossent.report import Evaluation, RunningScores

    notes, scores = RowNotes(trained, data), RunningScores()
    rows: list[Dataset] = []
    parts: list[Evaluation] = []
    for batch in trained.batches(data, label=True, weight=weight, of_equal_types=keep_rows, data_dir=data_dir):
        labels, probs = true_labels(batch, trained.classes, trained.label), true_probs(batch, trained.classes)
        logits = notes.logits(batch)
        part = Evaluation(logits, labels, trained.classes, trained.frequencies, batch.weights, probs)
        if keep_rows:
            rows.append(batch)
            parts.append(part)
        scores.add(part)
    notes.tell()
    if scores.weight == 0:
        raise DataError("every sample weight is 0", path=data, column=weight)
    if not keep_rows:
        return scores, None
    evaluation = Evaluation.concatenated(parts)
    return evaluation, (Dataset.concatenated(rows), evaluation)


class RowNotes:
    """What is to be said of rows that a model is asked for: columns it does not use, categories it does not know."""

    def __init__(self, trained: TrainedModel, name: str) -> None:
        self._trained, self._name = trained, name
        self._unused: list[str] = []
        self._unknown: dict[str, int] = {}

    def logits(self, dataset: Dataset) -> NDArray[np.float64]:
        """Return the logits of the rows, or of a batch of them."""
        self._unused = self._trained.unused_columns(dataset)
        encoded = self._trained.encode(dataset)
        for column, n in encoded.unknown.items():
            self._unknown[column] = self._unknown.get(column, 0) + n
        return self._trained.logits_of(encoded.x)

    def tell(self) -> None:
        """Say it."""
        unused = self._unused
        if unused:
            shown = ", ".join(unused[:5]) + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
            console.note(f"{self._name}: columns the model does not use: {shown}")
        for column, n in self._unknown.items():
            rows = "1 row has a category" if n == 1 else f"{n} rows have categories"
            console.note(
                f"{self._name}, column {column!r}: {rows} not seen in training, taken as none of the known ones"
            )


def _write_report(path: Path, model: Path, trained: TrainedModel, dataset: Dataset, evaluation: Evaluation) -> None:
    from crossent.report import Report, write_report

    report = Report(
        title=f"Trained on {trained.source}, evaluated on {Path(dataset.name).name}",
        part="rows",
        evaluation=evaluation,
        dataset=dataset,
        facts=[("model", str(model)), ("trained on", trained.source), ("evaluated on", dataset.name)],
        command=f"crossent evaluate {model} {dataset.name} --report {path}",
    )
    write_report(path, report)
