"""What ``crossent explain`` does with its options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crossent.cli.class_numbers import read_numbers
from crossent.errors import DataError, invalid_value
from crossent.explanation.comparison import Comparison, compare
from crossent.explanation.losses import CROSS_ENTROPY
from crossent.explanation.payments import Payer
from crossent.explanation.plain import dump_json
from crossent.explanation.prediction import Explanation, explain
from crossent.simplex_inputs import GENERAL_RULES

if TYPE_CHECKING:
    from crossent.stories import Story


@dataclass(frozen=True)
class Asked:
    """What the options say of the prediction."""

    probs: str | None
    logits: str | None
    label: str | None
    truth: str | None
    pay: list[str]
    against: str | None
    loss: str
    metric: list[str]
    step: float
    normalize: bool
    fractions: bool
    model: Path | None
    data: str | None
    row: int | None
    data_dir: Path | None


def explain_and_tell(asked: Asked, story: str | None, *, quiz: bool, as_json: bool, as_latex: bool) -> None:
    """Explain what was asked for, or tell a story, and print it."""
    _refuse_together({"--json": as_json, "--latex": as_latex})
    _refuse_together({"--quiz": quiz, "--latex": as_latex})
    if asked.against is not None and (as_latex or quiz):
        raise ValueError(f"{'--latex' if as_latex else '--quiz'} takes one prediction: leave --against out")
    if story is not None:
        _refuse_own_numbers(story, asked)
    if story == "list":
        _refuse_together({"--story list": True, "--quiz": quiz, "--latex": as_latex})
        _list_stories(as_json)
        return
    try:
        shown = _compared(asked) if story is None else _told(story)
    except (ValueError, TypeError) as error:
        raise ValueError(_as_options(str(error), "--label" if asked.truth is None else "--truth")) from error
    if quiz:
        _ask(shown, as_json)
    else:
        _print(shown, as_json, as_latex)


def explain_row(
    model: str | Path,
    data: str | Path,
    row: int,
    target: str | Mapping[str, float] | None = None,
    pay: Iterable[str] = (),
    *,
    data_dir: str | Path | None = None,
    **options: Any,
) -> Explanation:
    """Explain a trained model's prediction for one row of a table, against the row's own label by default.

    Parameters
    ----------
    model : path
        The directory that training wrote.
    data : path or str
        A file, or the name of a built-in set, whose test part is meant; ``data_dir`` is where its files are.
    row : int
        Counted from 1, the header not included.
    target : str or mapping, optional
        A truth to take instead of the row's label.
    pay : iterable of str
        As for the option ``--pay``.
    **options
        ``loss``, ``metric`` and ``step`` of `crossent.explain`.

    Raises
    ------
    DataError
        The row has no label and no target was given.
    """
    if row < 1:
        raise invalid_value("--row", row, "a row counted from 1")
    from crossent.data.pipeline import load_trained

    trained = load_trained(model)
    logits, label = trained.logits_of_row(data, row, data_dir=data_dir)
    truth = label if target is None else target
    if truth is None:
        raise DataError("has no label: give --label or --truth", path=data, row=row)
    return explain(logits=logits, target=truth, classes=trained.classes, pay=_payers(pay, trained.classes), **options)


def _compared(asked: Asked) -> Explanation | Comparison:
    first = _explained(asked)
    if asked.against is not None:
        return compare(first, _other(first, asked), step=asked.step)
    return first


def _explained(asked: Asked) -> Explanation:
    if asked.label is not None and asked.truth is not None:
        raise ValueError("--label and --truth exclude each other")
    if sum(source is not None for source in (asked.probs, asked.logits, asked.model)) != 1:
        raise ValueError("expected one of --probs, --logits and --model")
    if asked.normalize and asked.probs is None:
        raise ValueError("--normalize divides --probs by their sum: there are none")
    if asked.fractions and asked.probs is None:
        raise ValueError("--fractions goes with --probs: a softmax of logits is no fraction")
    target: Any = asked.label
    if asked.truth is not None:
        target = read_numbers(asked.truth, "--truth", exact=asked.fractions)
    options: dict[str, Any] = {"loss": asked.loss, "metric": asked.metric, "step": asked.step}
    if asked.model is not None:
        if asked.data is None or asked.row is None:
            raise ValueError("--model needs --data and --row")
        return explain_row(asked.model, asked.data, asked.row, target, asked.pay, data_dir=asked.data_dir, **options)
    if asked.data is not None or asked.row is not None or asked.data_dir is not None:
        raise ValueError("--data, --row and --data-dir go with --model")
    if target is None:
        raise ValueError("expected --label or --truth")
    if asked.probs is not None:
        given = read_numbers(asked.probs, "--probs", exact=asked.fractions)
        pay = _payers(asked.pay, list(given), exact=asked.fractions)
        return explain(given, target=target, pay=pay, normalize=asked.normalize, **options)
    given = read_numbers(str(asked.logits), "--logits")
    return explain(logits=given, target=target, pay=_payers(asked.pay, list(given)), **options)


def _payers(given: Iterable[str], classes: Sequence[str], *, exact: bool = False) -> list[Payer]:
    """Return names as they are, and shares as a mapping; a class whose name looks like shares is a name."""
    return [
        text if "=" not in text or text in (*GENERAL_RULES, *classes) else read_numbers(text, "--pay", exact=exact)
        for text in given
    ]


def _other(first: Explanation, asked: Asked) -> Explanation:
    d = first.differential
    given = read_numbers(str(asked.against), "--against", exact=asked.fractions)
    for name in (*given, *d.classes):
        if (name in given) != (name in d.classes):
            problem = "missing" if name in d.classes else "not a class of the prediction"
            raise ValueError(f"--against: {name!r} is {problem}")
    probs = [given[name] for name in d.classes]
    payers = [pay for rule, pay in first.payments.items() if rule not in GENERAL_RULES]
    try:
        return explain(probs, target=d.truth, classes=d.classes, pay=payers, normalize=asked.normalize, loss=asked.loss)
    except ValueError as error:
        raise ValueError(str(error).replace("probs", "--against", 1)) from error


def _told(name: str) -> Story:
    from crossent.stories import story

    return story(name)


def _refuse_own_numbers(story: str, asked: Asked) -> None:
    idle = Asked(None, None, None, None, [], None, CROSS_ENTROPY, [], 1.0, False, False, None, None, None, None)
    for option, default in vars(idle).items():
        if getattr(asked, option) != default:
            raise ValueError(f"--story {story} has its own numbers: leave --{option.replace('_', '-')} out")


def _list_stories(as_json: bool) -> None:
    from crossent.stories import STORIES

    if as_json:
        typer.echo(dump_json([{"name": s.name, "title": s.title, "question": s.question} for s in STORIES.values()]))
        return
    from crossent.cli.console import print_rows

    print_rows([(one.name, f"{one.title}. {one.question}") for one in STORIES.values()])


def _ask(shown: Explanation | Comparison | Story, as_json: bool) -> None:
    if isinstance(shown, Comparison):
        shown = shown.first
    one = shown if isinstance(shown, Explanation) else next(iter(shown.predictions.values()))
    if as_json:
        typer.echo(dump_json({"prediction": one.to_dict(), "quiz": [question.to_dict() for question in one.quiz()]}))
        return
    from crossent.cli.quiz import play

    play(one)


def _print(shown: Explanation | Comparison | Story, as_json: bool, as_latex: bool) -> None:
    if as_json:
        typer.echo(shown.to_json())
    elif as_latex and not isinstance(shown, Comparison):
        typer.echo(shown.to_latex(), nl=False)
    else:
        from rich.console import Console

        Console().print(shown)


def _refuse_together(options: dict[str, bool]) -> None:
    given = [option for option, there in options.items() if there]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} exclude each other")


def _as_options(message: str, target: str) -> str:
    """Say in a message from the library which option the argument came from."""
    message = re.sub(r"^((?:the \w+ of |len\()?)target\b", rf"\1{target}", message)
    message = re.sub(r"^((?:the \w+ of )?)(probs|logits|pay|story|step|loss|metric)\b", r"\1--\2", message)
    return message.replace("normalize=True", "--normalize")
