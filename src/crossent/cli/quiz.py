"""The quiz on a terminal: predict, then see the answer; a score at the end."""

from __future__ import annotations

import string
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from crossent.explanation.prediction import Explanation
    from crossent.explanation.quiz import Question


def play(explanation: Explanation, stdin: TextIO | None = None) -> None:
    """Ask about a prediction, one line of input per answer.

    Where the input ends early (a pipe, Ctrl-D, or the answer ``q``), the remaining answers are shown and not
    scored. The score counts what was answered.
    """
    from rich.console import Console

    from crossent.explanation.text import prediction_view

    asked = explanation.quiz()
    if not asked:
        raise ValueError("--quiz: the truth has mass 0, so that every answer would be 0")
    console, source = Console(highlight=False), sys.stdin if stdin is None else stdin
    console.print(prediction_view(explanation))
    answered, right, open_input = 0, 0, True
    for at, question in enumerate(asked, 1):
        _show(console, question, f"{at} of {len(asked)}")
        chosen = _choice(console, source, len(question.choices)) if open_input else None
        open_input = chosen is not None
        if chosen is not None:
            answered += 1
            right += question.choices[chosen].right
        _reveal(console, question, chosen)
    console.print(_score(right, answered, len(asked)), style="bold", markup=False)


def _show(console: Console, question: Question, place: str) -> None:
    console.print(f"\n{place}. {question.text} …", style="bold", markup=False)
    for letter, choice in zip(string.ascii_lowercase, question.choices, strict=False):
        console.print(f"  {letter}) {choice.text}", markup=False)


def _choice(console: Console, source: TextIO, n_choices: int) -> int | None:
    """Read until a line names a choice; None where the input ends or says q."""
    letters = string.ascii_lowercase[:n_choices]
    while True:
        console.print(f"Your prediction (a–{letters[-1]}, q to stop): ", end="", markup=False)
        line = source.readline()
        if not source.isatty():
            console.print(line.strip(), markup=False)  # a transcript shows what was answered
        answer = line.strip().lower().rstrip(").")
        if not line or answer in ("q", "quit"):
            return None
        if len(answer) == 1 and answer in letters:
            return letters.index(answer)
        console.print(f"{line.strip()!r} is none of {', '.join(letters)}.", markup=False)


def _reveal(console: Console, question: Question, chosen: int | None) -> None:
    answer = question.answer
    if chosen is not None and question.choices[chosen].right:
        console.print(f"Right: {answer.why}", style="green", markup=False)
        return
    if chosen is not None:
        console.print(f"No. {question.choices[chosen].why}", style="yellow", markup=False)
    console.print(f"The answer: {answer.text}. {answer.why}", markup=False)


def _score(right: int, answered: int, total: int) -> str:
    rest = "" if answered == total else f"; {total - answered} of {total} not answered"
    return f"\n{right} of {answered} right{rest}." if answered else f"\nNone of {total} answered."
