"""What the commands share on the terminal: notes, tables of scores, and the rows of a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from crossent.report import Scores


def note(text: str) -> None:
    """Say something beside the result, on stderr."""
    print(f"crossent: note: {text}", file=sys.stderr)


def two_columns(rows: list[tuple[str, str]], title: str | None = None) -> Table:
    """Return a table of names and values."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, title=title, title_justify="left", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def print_rows(rows: list[tuple[str, str]], title: str | None = None) -> None:
    """Print names and values in two columns."""
    from rich.console import Console

    Console().print(two_columns(rows, title))


def score_rows(evaluation: Scores, part: str) -> list[tuple[str, str]]:
    """Return the scores as names and values for `print_rows`."""
    from crossent.report.numbers import count, percent, significant

    return [
        (f"{part} log-loss".strip(), f"{significant(evaluation.log_loss)} nats"),
        ("  class frequencies alone", f"{significant(evaluation.baseline)} nats"),
        (
            f"{part} accuracy".strip(),
            f"{percent(evaluation.accuracy)} ({count(evaluation.n_wrong)} of {count(evaluation.n_rows)} wrong)",
        ),
        (f"{part} Brier score".strip(), significant(evaluation.brier)),
        ("expected calibration error", percent(evaluation.calibration_error)),
    ]
