"""A story: a question, the predictions it is about, and sentences made from computed numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from crossent.explanation.plain import dump_json
from crossent.explanation.prediction import Explanation
from crossent.explanation.words import nats, number

if TYPE_CHECKING:
    from rich.console import RenderableType

Number: TypeAlias = float | int | bool
Value: TypeAlias = Number | Sequence[Number]


@dataclass(frozen=True, eq=False)
class Fact:
    """A sentence that a story teaches, and the numbers in it.

    Attributes
    ----------
    sentence : str
        With the names of the numbers in braces, ``{loss:nats}`` for a loss and its unit, so that words and
        numbers cannot disagree.
    numbers : mapping of str to number or sequence of numbers
    """

    sentence: str
    numbers: Mapping[str, Value]

    @property
    def text(self) -> str:
        """The sentence with its numbers.

        >>> Fact("A loss of {loss:nats}, gradient {grad}.", {"loss": 3.97029, "grad": [-0.5, 0.5]}).text
        'A loss of 3.9703 nats, gradient (-0.5, 0.5).'
        """
        return self.sentence.format(**{name: _Written(value) for name, value in self.numbers.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return the finished sentence and its numbers in full precision."""
        return {"text": self.text, "numbers": {name: _plain(value) for name, value in self.numbers.items()}}


@dataclass(frozen=True, eq=False)
class StoryTable:
    """Numbers of a story that change along a column of inputs.

    Attributes
    ----------
    title : str
    columns : tuple of str
    rows : tuple of tuple of float
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    def cells(self) -> list[list[str]]:
        """Return the rows as short numbers for reading."""
        return [[number(value) for value in row] for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return title, columns and rows in full precision."""
        return {"title": self.title, "columns": list(self.columns), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True, eq=False)
class Story:
    """A question about the derivative of the loss, and the predictions that settle it.

    Attributes
    ----------
    name : str
        What it is called up by.
    title, question : str
    predictions : mapping of str to Explanation
        By caption.
    facts : tuple of Fact
        What the predictions teach.
    tables : tuple of StoryTable
    shown : tuple of str
        The classes that its tables of text and HTML show; all of them where it is empty.
    """

    name: str
    title: str
    question: str
    predictions: Mapping[str, Explanation]
    facts: tuple[Fact, ...]
    tables: tuple[StoryTable, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def numbers(self) -> dict[str, Value]:
        """The numbers of all its sentences, by name."""
        return {name: value for fact in self.facts for name, value in fact.numbers.items()}

    def rows(self, explanation: Explanation) -> list[int]:
        """Return the classes of a prediction that are shown."""
        classes = explanation.differential.classes
        return [c for c, name in enumerate(classes) if not self.shown or name in self.shown]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values; a prediction is its explanation's dict and its caption."""
        return {
            "name": self.name,
            "title": self.title,
            "question": self.question,
            "predictions": [{"caption": caption, **one.to_dict()} for caption, one in self.predictions.items()],
            "facts": [fact.to_dict() for fact in self.facts],
            "tables": [table.to_dict() for table in self.tables],
            "shown": list(self.shown),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return `to_dict` as JSON, infinities as the strings "inf" and "-inf"."""
        return dump_json(self.to_dict(), indent=indent)

    def to_text(self, width: int = 80) -> str:
        """Return plain text in lines of at most ``width`` columns."""
        from crossent.explanation.text import plain_text
        from crossent.stories.views import story_view

        return plain_text(story_view(self), width)

    def to_latex(self) -> str:
        """Return the derivation of each prediction under its caption, for a document that loads amsmath."""
        from crossent.explanation.latex import latex_text

        parts = [rf"\section*{{{latex_text(self.title)}}}"]
        for caption, one in self.predictions.items():
            parts.append(rf"\subsection*{{{latex_text(caption)}}}" + "\n" + one.to_latex())
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        from crossent.stories.views import story_html

        return story_html(self)

    def __rich__(self) -> RenderableType:
        from crossent.stories.views import story_view

        return story_view(self)

    def __str__(self) -> str:
        return self.to_text()


@dataclass(frozen=True)
class _Written:
    value: Value

    def __format__(self, unit: str) -> str:
        if isinstance(self.value, Sequence):
            return "(" + ", ".join(number(one) for one in self.value) + ")"
        return nats(self.value) if unit == "nats" else number(self.value)


def _plain(value: Value) -> Any:
    return list(value) if isinstance(value, Sequence) else value
