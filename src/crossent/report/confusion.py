"""Which classes are taken for which: a table where it can be read, else a picture and the most frequent mistakes."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from crossent.report.evaluation import Evaluation
from crossent.report.numbers import count, percent

_MOST_WRITTEN = 24
_MANY = 12
_WORST_PAIRS = 12


def confusion_section(evaluation: Evaluation) -> str:
    """Return the section of the page."""
    confusion = evaluation.confusion
    if len(evaluation.classes) <= _MOST_WRITTEN:
        hint = (
            "Rows of each true class by predicted class. Blue is right, orange wrong; "
            "the stronger, the larger the share of the true class."
        )
        body = _table(confusion, evaluation.classes)
    else:
        from crossent.report import figures  # loads matplotlib

        hint = (
            f"Each of the {count(len(evaluation.classes))} classes is one line. A clear diagonal is right; "
            "marks beside it are mistakes, the stronger the more of the class."
        )
        picture = f"<figure>{figures.confusion_image(confusion)}</figure>"
        body = f'<div class="pair">{picture}<div>{_worst_pairs(confusion, evaluation.classes)}</div></div>'
    return f'<section><h2>Confusion</h2><p class="hint">{hint}</p>{body}</section>'


def _table(confusion: NDArray[np.int64], classes: list[str]) -> str:
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    heads = "".join(f'<th class="class" scope="col"><span>{escape(name)}</span></th>' for name in classes)
    rows = []
    for i, name in enumerate(classes):
        cells = "".join(_cell(int(confusion[i, j]), float(share[i, j]), i == j) for j in range(len(classes)))
        rows.append(f'<tr><th scope="row" title="{escape(name)}">{escape(name)}</th>{cells}</tr>')
    many = " many" if len(classes) > _MANY else ""
    return (
        f'<div class="scroll{many}"><table class="confusion">'
        f"<thead><tr><th>predicted →<br>true ↓</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(n: int, share: float, right: bool) -> str:
    if n == 0:
        return '<td class="none">·</td>'
    # Mistakes are a few percent of a class: the square root makes them visible.
    strength = share if right else share**0.5
    names = [name for name, holds in (("right", right), ("strong", strength > 0.5)) if holds]
    attribute = f' class="{" ".join(names)}"' if names else ""
    return f'<td{attribute} style="--share:{strength:.2f}" title="{percent(share)} of the class">{count(n)}</td>'


def _worst_pairs(confusion: NDArray[np.int64], classes: list[str]) -> str:
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_WORST_PAIRS]
    pairs = [divmod(int(flat), len(classes)) for flat in order if mistakes.flat[flat] > 0]
    if not pairs:
        return ""
    rows = "".join(
        f"<tr><td>{escape(classes[i])}</td><td>{escape(classes[j])}</td>"
        f'<td class="number">{count(int(mistakes[i, j]))}</td>'
        f'<td class="number">{percent(float(mistakes[i, j] / confusion[i].sum()))}</td></tr>'
        for i, j in pairs
    )
    return (
        '<div class="scroll"><table class="list"><thead><tr><th>true class</th><th>taken for</th>'
        '<th class="number">rows</th><th class="number">of the class</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
