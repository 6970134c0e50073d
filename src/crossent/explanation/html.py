"""An explanation as an HTML fragment, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from crossent.explanation.words import (
    classes_shown,
    descent_lines,
    headline,
    left_out,
    logit_entry,
    multiples_line,
    notes,
    number,
    probability,
    shown,
    why_both_are_right,
)

if TYPE_CHECKING:
    from crossent.explanation.prediction import Explanation


def html(explanation: Explanation) -> str:
    """Return a table and its paragraphs; every name is escaped, no script or style sheet is needed."""
    d, some = explanation.differential, classes_shown(explanation)
    paragraphs = [*left_out(d, some), multiples_line(explanation), *notes(d), why_both_are_right(explanation)]
    return (
        f'<div class="crossent-explanation">{table(explanation, headline(d), some)}'
        + "".join(f"<p>{escape(text)}</p>" for text in paragraphs)
        + _descents(explanation)
        + "</div>"
    )


def _descents(explanation: Explanation) -> str:
    if not explanation.metrics:
        return ""
    found, (first, *rest) = explanation.descents, descent_lines(explanation)
    head = "".join(
        f'<th scope="col">{metric} velocity<br>(vector)</th><th scope="col">q after<br>the step</th>'
        for metric in found
    )
    rows = ""
    for c in classes_shown(explanation):
        name = explanation.differential.classes[c]
        cells = "".join(f"<td>{number(one.velocity[c])}</td><td>{number(one.probs[c])}</td>" for one in found.values())
        rows += f'<tr><th scope="row">{escape(shown(name))}</th>{cells}</tr>'
    return (
        f"<p>{escape(first)}</p><table><caption>Steepest descent, by metric</caption>"
        f'<thead><tr><th scope="col">class</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>" + "".join(f"<p>{escape(line)}</p>" for line in rest)
    )


def table(explanation: Explanation, caption: str, classes: Sequence[int]) -> str:
    """Return the table of an explanation, of some classes."""
    d = explanation.differential
    rules = explanation.derivatives
    head = (
        '<tr><th rowspan="2" scope="col">class</th><th rowspan="2" scope="col">truth</th>'
        '<th rowspan="2" scope="col">prediction</th>'
        f'<th colspan="{len(rules)}" scope="colgroup">derivative as the class rises, by who pays</th>'
        '<th rowspan="2" scope="col">logit gradient<br>(covector in logits)</th>'
        '<th rowspan="2" scope="col">natural gradient<br>(vector on the simplex)</th></tr>'
        "<tr>" + "".join(f'<th scope="col">{escape(shown(rule))}</th>' for rule in rules) + "</tr>"
    )
    rows = []
    for c in classes:
        both = logit_entry(d, c)
        by_rule = [number(values[c]) for values in rules.values()]
        cells = [number(d.truth[c]), probability(d, c), *by_rule, both, both]
        tds = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(shown(d.classes[c]))}</th>{tds}</tr>')
    return f"<table><caption>{escape(caption)}</caption><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
