"""``crossent explain``: the loss of one prediction and its derivative, by who pays."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from crossent.comparison import compare
from crossent.errors import DataError, invalid_value
from crossent.explain import Explanation, explain

if TYPE_CHECKING:
    from crossent.comparison import Comparison

_FORM = (
    "NAME=NUMBER,NAME=NUMBER,… or @FILE (CSV lines NAME,NUMBER or a JSON object). "
    'A name is what stands before the last "="; quote one with a comma as CSV does: "\\"a, b\\"=0.5,c=0.5".'
)


def command(
    probs: Annotated[str | None, typer.Option(help=f"The prediction as probabilities: {_FORM}")] = None,
    logits: Annotated[str | None, typer.Option(help="The prediction as logits, written likewise.")] = None,
    label: Annotated[str | None, typer.Option(help="The true class.")] = None,
    truth: Annotated[str | None, typer.Option(help="A true distribution instead; classes left out have none.")] = None,
    pay: Annotated[
        list[str] | None,
        typer.Option(help="A class that pays, beside nobody, everyone and in proportion. May be repeated."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Another prediction (probabilities) of the same classes to compare with."),
    ] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Divide probabilities by their sum.")] = False,
    model: Annotated[Path | None, typer.Option(help="A trained model's directory, with --data and --row.")] = None,
    data: Annotated[Path | None, typer.Option(help="The table the row is taken from.")] = None,
    row: Annotated[int | None, typer.Option(help="The row, counted from 1, the header not included.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print JSON; infinities are "inf", "-inf".')] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print the derivation for LaTeX (amsmath).")] = False,
) -> None:
    """Explain one prediction: its loss, and the derivative for each rule of who pays."""
    try:
        if as_json and as_latex:
            raise ValueError("--json and --latex exclude each other")
        result = _explained(probs, logits, label, truth, pay or [], normalize, (model, data, row))
        shown: Explanation | Comparison = result
        if against is not None:
            if as_latex:
                raise ValueError("--latex writes the derivation of one prediction: leave --against out")
            shown = compare(result, _other(result, against, normalize))
        if isinstance(shown, Explanation) and as_latex:
            typer.echo(shown.to_latex())
            return
    except (ValueError, TypeError, OSError) as error:
        _fail(error)
    if as_json:
        typer.echo(shown.to_json())
    else:
        from rich.console import Console

        Console().print(shown)


def explain_row(
    model: Path, data: Path, row: int, target: str | dict[str, float] | None = None, pay: Iterable[str] = ()
) -> Explanation:
    """Explain a trained model's prediction for one row of a table, against the row's own label by default.

    Parameters
    ----------
    model, data : path
    row : int
        Counted from 1, the header not included.
    target : str or mapping, optional
        A truth to take instead of the row's label.
    pay : iterable of str
        As for `crossent.explain.explain`.

    Raises
    ------
    DataError
        The row has no label and no target was given.
    """
    from crossent.data.pipeline import load_trained

    if row < 1:
        raise invalid_value("--row", row, "a row counted from 1")
    trained = load_trained(model)
    logits, label = trained.logits_of_row(data, row)
    truth = label if target is None else target
    if truth is None:
        raise DataError("has no label: give --label or --truth", path=data, row=row)
    return explain(logits=logits, target=truth, classes=trained.classes, pay=pay)


def read_numbers(text: str, option: str) -> dict[str, float]:
    """Return the numbers per class that an option was given, inline or as @FILE.

    >>> read_numbers('dog=0.5,"a, b=c"=0.25,cat=0.25', "--probs")
    {'dog': 0.5, 'a, b=c': 0.25, 'cat': 0.25}
    """
    if text.startswith("@"):
        return _from_file(Path(text[1:]), option)
    pairs = []
    for field in next(csv.reader([text], skipinitialspace=True), []):
        name, equals, value = field.rpartition("=")
        if not equals:
            raise ValueError(f"{option}: {field!r} is not NAME=NUMBER")
        pairs.append((name, value))
    return _numbers(pairs, option)


def _from_file(path: Path, option: str) -> dict[str, float]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", path=path) from None
    if text.lstrip().startswith(("{", "[")):
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except json.JSONDecodeError as error:
            raise DataError(f"is not JSON: {error}", path=path) from None
        if not all(isinstance(pair, tuple) for pair in pairs) or not text.lstrip().startswith("{"):
            raise DataError("expected one JSON object, {name: number, …}", path=path)
        return _numbers(pairs, f"{option} {path}")
    lines = [(at, line) for at, line in enumerate(csv.reader(text.splitlines()), 1) if any(map(str.strip, line))]
    for at, line in lines:
        if len(line) != 2:
            raise DataError(f"line {at} has {len(line)} fields: expected NAME,NUMBER", path=path)
    pairs = [(line[0], line[1]) for _, line in lines]
    if pairs and not _is_number(pairs[0][1]) and all(_is_number(value) for _, value in pairs[1:]):
        del pairs[0]  # the header
    return _numbers(pairs, f"{option} {path}")


def _numbers(pairs: Iterable[tuple[str, object]], where: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for raw, value in pairs:
        name = raw.strip()
        if not name:
            raise ValueError(f"{where}: a number without a class name, {value!r}")
        if name in found:
            raise ValueError(f"{where}: class {name!r} is given twice")
        if isinstance(value, bool) or not _is_number(value):
            raise ValueError(f"{where}: {name} = {value!r}: expected a number")
        found[name] = float(str(value))
        if math.isnan(found[name]):
            raise ValueError(f"{where}: {name} = nan: expected a number")
    if not found:
        raise ValueError(f"{where} is empty: expected NAME=NUMBER for at least one class")
    return found


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _explained(
    probs: str | None,
    logits: str | None,
    label: str | None,
    truth: str | None,
    pay: list[str],
    normalize: bool,
    trained: tuple[Path | None, Path | None, int | None],
) -> Explanation:
    if label is not None and truth is not None:
        raise ValueError("--label and --truth exclude each other")
    target = label if truth is None else read_numbers(truth, "--truth")
    model, data, row = trained
    if sum(source is not None for source in (probs, logits, model)) != 1:
        raise ValueError("expected one of --probs, --logits and --model")
    if normalize and probs is None:
        raise ValueError("--normalize divides --probs by their sum: there are none")
    if model is not None:
        if data is None or row is None:
            raise ValueError("--model needs --data and --row")
        return explain_row(model, data, row, target, pay)
    if data is not None or row is not None:
        raise ValueError("--data and --row go with --model")
    if target is None:
        raise ValueError("expected --label or --truth")
    if probs is not None:
        return explain(read_numbers(probs, "--probs"), target=target, pay=pay, normalize=normalize)
    return explain(logits=read_numbers(str(logits), "--logits"), target=target, pay=pay)


def _other(first: Explanation, against: str, normalize: bool) -> Explanation:
    d = first.differential
    given = read_numbers(against, "--against")
    for name in (*given, *d.classes):
        if (name in given) != (name in d.classes):
            problem = "missing" if name in d.classes else "not a class of the prediction"
            raise ValueError(f"--against: {name!r} is {problem}")
    probs = [given[name] for name in d.classes]
    payers = [d.classes[r] for r in first.payers]
    return explain(probs, target=d.truth, classes=d.classes, pay=payers, normalize=normalize)


def _fail(error: Exception) -> NoReturn:
    message = str(error).replace("\n", " ")
    print(f"crossent explain: {message}", file=sys.stderr)
    raise typer.Exit(2) from None
