"""The page of stories, made of `crossent.stories`: its sentences and tables, with the numbers computed now."""

from __future__ import annotations

from collections.abc import Sequence

from cli_reference import escaped

from crossent.explanation.prediction import Explanation
from crossent.explanation.words import number, pays, probability
from crossent.stories import STORIES, Story, story


def page() -> str:
    """Return the page's text below its introduction."""
    return "\n".join(line for name in STORIES for line in section(story(name)))


def section(told: Story) -> list[str]:
    lines = [f"(story-{told.name})=", f"## {told.title}", "", f"*{escaped(told.question)}*", ""]
    lines += [f"* {escaped(fact.text)}" for fact in told.facts]
    for found in told.tables:
        lines += ["", f"{escaped(found.title)}:", "", *table(found.columns, found.cells())]
    for caption, prediction in told.predictions.items():
        lines += ["", f"{escaped(caption)}:", "", *table(*columns(prediction, told.rows(prediction)))]
    return [*lines, "", "```console", f"$ crossent explain --story {told.name}", "```", ""]


def columns(prediction: Explanation, shown: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Return a prediction's titles and rows: a column per class that its story shows, a row per rule of payment."""
    d = prediction.differential
    rules = {pays(prediction, rule): grad for rule, grad in prediction.derivatives.items()}
    numbers = {"truth": d.truth, **rules, "logit gradient": d.logits}
    rows = [[title, *(number(values[c]) for c in shown)] for title, values in numbers.items()]
    return ["", *(d.classes[c] for c in shown)], [["prediction", *(probability(d, c) for c in shown)], *rows]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [map(escaped, titles), ["---", *["---:"] * (len(titles) - 1)], *(map(escaped, row) for row in rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]
