"""``crossent explain``: the loss of one prediction and its derivative, by who pays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossent.cli.class_numbers import FORM, read_numbers
from crossent.errors import DataError, invalid_value
from crossent.explanation.comparison import Comparison, compare
from crossent.explanation.losses import CROSS_ENTROPY, LOSS_NAMES
from crossent.explanation.payments import Payer
from crossent.explanation.plain import dump_json
from crossent.explanation.prediction import Explanation, explain
from crossent.simplex_inputs import GENERAL_RULES

if TYPE_CHECKING:
    from crossent.stories import Story


@dataclass(frozen=True)
class _Asked:
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


def command(
    probs: Annotated[str | None, typer.Option(help=f"The prediction as probabilities: {FORM}")] = None,
    logits: Annotated[str | None, typer.Option(help="The prediction as logits, written likewise.")] = None,
    label: Annotated[str | None, typer.Option(help="The true class.")] = None,
    truth: Annotated[str | None, typer.Option(help="A true distribution instead; classes left out have none.")] = None,
    pay: Annotated[
        list[str] | None,
        typer.Option(
            help="Who pays, beside nobody, everyone and in proportion: a class, or shares that sum to 1, as in "
            "cat=0.5,bird=0.5. May be repeated."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Another prediction (probabilities) of the same classes to compare with."),
    ] = None,
    loss: Annotated[
        str, typer.Option(help=f"The loss: {', '.join(LOSS_NAMES)}; parameters follow a colon, focal:gamma=3.")
    ] = CROSS_ENTROPY,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Show the steepest descent in a metric, and where a step leads: euclidean, natural or logit. May be "
            "repeated."
        ),
    ] = None,
    step: Annotated[float, typer.Option(help="How large a step --metric takes, and --against in logits.")] = 1.0,
    normalize: Annotated[bool, typer.Option("--normalize", help="Divide probabilities by their sum.")] = False,
    fractions: Annotated[
        bool, typer.Option("--fractions", help="Reckon exactly, in fractions: 1/2 and 0.49 are read as they stand.")
    ] = False,
    story: Annotated[
        str | None,
        typer.Option(help="Tell a story and its numbers instead: dog, deck, vanishing, soft, optimum, margin or list."),
    ] = None,
    quiz: Annotated[bool, typer.Option("--quiz", help="Ask first, then show the answers, and a score.")] = False,
    model: Annotated[Path | None, typer.Option(help="A trained model's directory, with --data and --row.")] = None,
    data: Annotated[str | None, typer.Option(help="The file the row is in, or digits or fashion-mnist.")] = None,
    row: Annotated[int | None, typer.Option(help="The row, counted from 1, the header not included.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where a built-in set's files are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print JSON; infinities are "inf", "-inf".')] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print the derivation for LaTeX (amsmath).")] = False,
) -> None:
    """Explain one prediction: its loss, and the derivative for each rule of who pays.

    Examples:

        crossent explain --probs dog=0.5,cat=0.49,bird=0.01 --label dog --pay cat=0.5,bird=0.5

        crossent explain --probs dog=1/2,cat=1/3,bird=1/6 --label dog --fractions --metric natural

        crossent explain --story dog

        crossent explain --story deck --quiz
    """
    asked = _Asked(
        probs,
        logits,
        label,
        truth,
        pay or [],
        against,
        loss,
        metric or [],
        step,
        normalize,
        fractions,
        model,
        data,
        row,
        data_dir,
    )
    _refuse_together({"--json": as_json, "--latex": as_latex})
    _refuse_together({"--quiz": quiz, "--latex": as_latex})
    if against is not None and (as_latex or quiz):
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
        raise ValueError(_as_options(str(error), "--label" if truth is None else "--truth")) from error
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


def _compared(asked: _Asked) -> Explanation | Comparison:
    first = _explained(asked)
    if asked.against is not None:
        return compare(first, _other(first, asked), step=asked.step)
    return first


def _explained(asked: _Asked) -> Explanation:
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


def _other(first: Explanation, asked: _Asked) -> Explanation:
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


def _refuse_own_numbers(story: str, asked: _Asked) -> None:
    idle = _Asked(None, None, None, None, [], None, CROSS_ENTROPY, [], 1.0, False, False, None, None, None, None)
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
