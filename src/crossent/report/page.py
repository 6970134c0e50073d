"""The report: one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path

from crossent.data.dataset import Dataset
from crossent.data.files import whole_or_nothing
from crossent.report.confusion import confusion_section
from crossent.report.evaluation import Evaluation
from crossent.report.mistakes import mistakes_section
from crossent.report.numbers import count, percent, significant

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class History:
    """What each epoch ended with; the validation lists are empty without a validation part."""

    loss: list[float]
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    best_epoch: int | None = None


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes
    ----------
    title : str
    part : str
        What the rows evaluated are, such as "test rows".
    evaluation : Evaluation
    dataset : Dataset
        The rows evaluated, to show the mistakes.
    history : History, optional
    facts : list of (str, str)
        How the model was made.
    notes : list of str
    command : str
        What made the report.
    """

    title: str
    part: str
    evaluation: Evaluation
    dataset: Dataset
    history: History | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""


def write_report(path: str | Path, report: Report) -> Path:
    """Write the page, whole or not at all, and return its path."""
    path = Path(path)
    content = render(report)
    with whole_or_nothing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def render(report: Report) -> str:
    """Return the page as text."""
    style = resources.files("crossent.report").joinpath("style.css").read_text(encoding="utf-8")
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">Softmax classifier</p>
<h1>{escape(report.title)}</h1>
{_lead(report)}
</header>
<main>
{_scores(report.evaluation)}
{_figures(report)}
{confusion_section(report.evaluation)}
{mistakes_section(report.evaluation, report.dataset)}
{_facts(report)}
</main>
<footer>{_footer(report)}</footer>
</body>
</html>
"""
    # A number stays on the line of its unit.
    return re.sub(r"(?<=\d) (?=(%|nats)[^;{])", "\N{NO-BREAK SPACE}", page)


def _lead(report: Report) -> str:
    scores = report.evaluation
    n = len(scores.labels)
    return (
        f'<p class="lead">On {count(n)} {escape(report.part)} the model names the right class for '
        f"<b>{percent(scores.accuracy)}</b>, at a loss of <b>{significant(scores.log_loss)} nats</b> per row; "
        f"predicting the class frequencies alone would cost {significant(scores.baseline)}.</p>"
    )


def _scores(scores: Evaluation) -> str:
    import numpy as np

    over = scores.overconfidence
    manner = "overconfident" if over > 0 else "underconfident"
    tiles = [
        (
            "Log-loss",
            f'{significant(scores.log_loss)}<span class="unit">nats</span>',
            f"the true class got {percent(float(np.exp(-scores.log_loss)))}, as a geometric mean",
        ),
        (
            "Accuracy",
            percent(scores.accuracy),
            f"{count(scores.n_wrong)} of {count(len(scores.labels))} wrong",
        ),
        (
            "Brier score",
            significant(scores.brier),
            "squared error of the probabilities: 0 is perfect, 2 the worst",
        ),
        (
            "Calibration error",
            percent(scores.calibration_error),
            f"expected over 15 bins; {abs(100 * over):.1f} points {manner} on the whole",
        ),
    ]
    items = "".join(
        f'<div><dt>{name}</dt><dd class="value">{value}</dd><dd class="reading">{reading}</dd></div>'
        for name, value, reading in tiles
    )
    return f'<dl class="scores">{items}</dl>'


def _figures(report: Report) -> str:
    from crossent.report import figures  # loads matplotlib, which scores without a page do not need

    reliability = f"""<section>
<h2>Reliability</h2>
<p class="hint">Of the predictions made with 80 % confidence, 80 % should be right. Points below the dashed line
are overconfident.</p>
<figure>{figures.reliability_diagram(report.evaluation)}</figure>
</section>"""
    history = report.history
    if history is None or not history.loss:
        return f'<div class="narrow">{reliability}</div>'
    kept = f" The model of epoch {history.best_epoch} is kept." if history.best_epoch else ""
    curve = figures.learning_curve(
        history.loss, history.validation_loss, history.validation_accuracy, history.best_epoch
    )
    return f"""<div class="pair"><section>
<h2>Learning curve</h2>
<p class="hint">The training loss is the mean over the epoch while the model still changed, so it can lie
above the validation loss.{kept}</p>
<figure>{curve}</figure>
</section>
{reliability}</div>"""


def _facts(report: Report) -> str:
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in report.facts)
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return (f'<section><h2>How it was made</h2><dl class="facts">{facts}</dl></section>' if facts else "") + (
        f'<section><h2>Notes</h2><ul class="notes">{notes}</ul></section>' if notes else ""
    )


def _footer(report: Report) -> str:
    made_by = f"Made by <code>{escape(report.command)}</code>. " if report.command else ""
    return f"{made_by}The loss is computed from the logits, never from clipped probabilities."
