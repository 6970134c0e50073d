"""An explanation on a terminal or as plain text: rows are classes, columns fit the width there is."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from crossent.explanation.words import (
    classes_shown,
    descent_lines,
    headline,
    left_out,
    logit_entry,
    loss_text,
    multiples_line,
    notes,
    number,
    pays,
    probability,
    shown,
    why_both_are_right,
)

if TYPE_CHECKING:
    from crossent.explanation.comparison import Comparison
    from crossent.explanation.prediction import Explanation
    from crossent.simplex import Differential

_GAP = 3
_WIDEST_NAME = 24


@dataclass(frozen=True)
class Column:
    """A title of one or more lines over one cell per class."""

    title: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(cell_len(line) for text in (self.title, *self.cells) for line in text.split("\n"))


@dataclass(frozen=True)
class ClassTable:
    """Groups of columns over classes; a group that does not fit the width begins a table below."""

    classes: Sequence[str]
    groups: Sequence[Sequence[Column]]
    marked: frozenset[int]
    title: str = "class"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names = Column(self.title, [shown(name) for name in self.classes])
        free = options.max_width - min(names.width, _WIDEST_NAME)
        pending: list[Column] = []
        for group in self.groups:
            whole = sum(column.width + _GAP for column in group) <= free
            for part in [group] if whole else [[column] for column in group]:
                if pending and sum(column.width + _GAP for column in (*pending, *part)) > free:
                    yield self._table(names, pending)
                    yield Text()
                    pending = []
                pending.extend(part)
        yield self._table(names, pending)

    def _table(self, names: Column, columns: Sequence[Column]) -> Table:
        # The box draws a blank column between two others: the padding is what remains of the gap.
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        table.add_column(Text(names.title), max_width=_WIDEST_NAME, overflow="fold")
        for column in columns:
            table.add_column(Text(column.title), justify="right", no_wrap=True)
        for c, name in enumerate(names.cells):
            cells = [Text(column.cells[c], style="dim" if column.cells[c] == "0" else "") for column in columns]
            table.add_row(Text(name), *cells, style="bold" if c in self.marked else "")
        return table


def explanation_view(explanation: Explanation) -> RenderableType:
    """Return the whole explanation for a rich console of any width."""
    d, some = explanation.differential, classes_shown(explanation)
    return Group(
        Text(headline(d), style="bold"),
        Text("Derivative of the loss per unit of probability as each class rises, by who pays for it:"),
        Text(),
        class_table(explanation, some),
        *map(Text, left_out(d, some)),
        Text(),
        Text(multiples_line(explanation)),
        *(Text(note) for note in notes(d)),
        Text(),
        Text(why_both_are_right(explanation)),
        *_descent_parts(explanation),
    )


def _descent_parts(explanation: Explanation) -> list[RenderableType]:
    if not explanation.metrics:
        return []
    some = classes_shown(explanation)
    groups = [
        [
            Column(f"{metric}\nvelocity\n(vector)", [number(one.velocity[c]) for c in some]),
            Column(f"{metric}\nq after\nthe step", [number(one.probs[c]) for c in some]),
        ]
        for metric, one in explanation.descents.items()
    ]
    first, *rest = descent_lines(explanation)
    return [Text(), Text(first), Text(), _class_table(explanation, some, groups), Text(), *map(Text, rest)]


def _class_table(explanation: Explanation, classes: Sequence[int], groups: Sequence[Sequence[Column]]) -> ClassTable:
    d = explanation.differential
    marked = frozenset(row for row, c in enumerate(classes) if d.truth[c] > 0)
    return ClassTable([d.classes[c] for c in classes], groups, marked)


def prediction_view(explanation: Explanation) -> RenderableType:
    """Return the prediction and the truth, without what follows from them."""
    d, some = explanation.differential, classes_shown(explanation)
    table = _class_table(explanation, some, [_at_point(d, some)])
    return Group(Text(headline(d), style="bold"), Text(), table, *map(Text, left_out(d, some)))


def _at_point(d: Differential, classes: Sequence[int]) -> list[Column]:
    truth = Column("truth", [number(d.truth[c]) for c in classes])
    return [truth, Column("prediction", [probability(d, c) for c in classes])]


def class_table(explanation: Explanation, some: Sequence[int]) -> ClassTable:
    """Return the table of an explanation, of some classes."""
    d = explanation.differential
    by_rule = [
        [Column(_rule_title(explanation, rule), [number(values[c]) for c in some])]
        for rule, values in explanation.derivatives.items()
    ]
    both = [logit_entry(d, c) for c in some]
    gradients = [
        Column("logit gradient\n(covector in\nlogits)", both),
        Column("natural gradient\n(vector on the\nsimplex)", both),
    ]
    return _class_table(explanation, some, [_at_point(d, some), *by_rule, gradients])


def _rule_title(explanation: Explanation, rule: str) -> str:
    if rule == "in proportion":
        return "in propor-\ntion pay"
    subject, _, verb = pays(explanation, rule).rpartition(" ")
    return "\n+ ".join(subject.split(" + ")) + f"\n{verb}"


def plain_text(view: RenderableType, width: int) -> str:
    """Return a rich view as plain text, without trailing blanks."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().split("\n")) + "\n"


def comparison_view(comparison: Comparison) -> RenderableType:
    """Return two predictions side by side, then what they share and what they do not."""
    pair = (comparison.first.differential, comparison.second.differential)
    some = classes_shown(comparison.first, comparison.second)
    ambient = [d.ambient for d in pair]
    groups = [
        [Column(f"prediction\n{label}", [probability(d, c) for c in some]) for label, d in zip("AB", pair)],
        [Column(f"{label}, nobody\npays", [number(a[c]) for c in some]) for label, a in zip("AB", ambient)],
        [Column(f"logit gradient\n{label}", [logit_entry(d, c) for c in some]) for label, d in zip("AB", pair)],
    ]
    losses = " and ".join(loss_text(d, d.loss) for d in pair)
    after = " and ".join(loss_text(d, loss) for d, loss in zip(pair, comparison.losses_after_step))
    if comparison.same_differential:
        along = "the same: every transfer of probability between two classes costs the same at both"
    else:
        most = number(comparison.differential_deviation)
        along = f"different: a transfer between two classes differs by up to {most}"
    gap = comparison.logit_gradient_deviation
    learning = f"different, by up to {number(gap)}" if gap > 0 else "the same"
    return Group(
        Text("A " + headline(pair[0]), style="bold"),
        Text("B " + headline(pair[1]), style="bold"),
        Text(),
        _class_table(comparison.first, some, groups),
        *map(Text, left_out(pair[0], some)),
        Text(),
        Text(f"Loss: {'the same' if comparison.same_loss else 'different'}, {losses}."),
        Text(f"Derivative along the simplex: {along}."),
        Text(f"Logit gradient: {learning}. After a step of {number(comparison.step)} against it: {after}."),
    )
