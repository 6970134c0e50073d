"""``crossent explain``: the loss of one prediction and its derivative, by who pays."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from crossent.errors import DataError, invalid_value
from crossent.explanation.comparison import compare
from crossent.explanation.prediction import Explanation, explain
from crossent.simplex_inputs import GENERAL_RULES

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
    data: Annotated[str | None, typer.Option(help="The file the row is in, or digits or fashion-mnist.")] = None,
    row: Annotated[int | None, typer.Option(help="The row, counted from 1, the header not included.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where a built-in set's files are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print JSON; infinities are "inf", "-inf".')] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print the derivation for LaTeX (amsmath).")] = False,
) -> None:
    """Explain one prediction: its loss, and the derivative for each rule of who pays."""
    if as_json and as_latex:
        raise ValueError("--json and --latex exclude each other")
    if as_latex and against is not None:
        raise ValueError("--latex writes the derivation of one prediction: leave --against out")
    try:
        first = _explained(probs, logits, label, truth, pay or [], normalize, (model, data, row, data_dir))
        shown = first if against is None else compare(first, _other(first, against, normalize))
    except (ValueError, TypeError) as error:
        raise ValueError(_as_options(str(error), "--label" if truth is None else "--truth")) from error
    if as_json:
        typer.echo(shown.to_json())
    elif as_latex and isinstance(shown, Explanation):
        typer.echo(shown.to_latex(), nl=False)
    else:
        from rich.console import Console

        Console().print(shown)


def explain_row(
    model: str | Path,
    data: str | Path,
    row: int,
    target: str | dict[str, float] | None = None,
    pay: Iterable[str] = (),
    *,
    data_dir: str | Path | None = None,
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
        As for `crossent.explain`.

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
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", path=path) from None
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
    return "_" not in str(value)  # Python's float reads 1_0


def _explained(
    probs: str | None,
    logits: str | None,
    label: str | None,
    truth: str | None,
    pay: list[str],
    normalize: bool,
    trained: tuple[Path | None, str | None, int | None, Path | None],
) -> Explanation:
    if label is not None and truth is not None:
        raise ValueError("--label and --truth exclude each other")
    target = label if truth is None else read_numbers(truth, "--truth")
    model, data, row, data_dir = trained
    if sum(source is not None for source in (probs, logits, model)) != 1:
        raise ValueError("expected one of --probs, --logits and --model")
    if normalize and probs is None:
        raise ValueError("--normalize divides --probs by their sum: there are none")
    if model is not None:
        if data is None or row is None:
            raise ValueError("--model needs --data and --row")
        return explain_row(model, data, row, target, pay, data_dir=data_dir)
    if data is not None or row is not None or data_dir is not None:
        raise ValueError("--data, --row and --data-dir go with --model")
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
    payers = [pay for rule, pay in first.payments.items() if rule not in GENERAL_RULES]
    try:
        return explain(probs, target=d.truth, classes=d.classes, pay=payers, normalize=normalize)
    except ValueError as error:
        raise ValueError(str(error).replace("probs", "--against", 1)) from error


def _as_options(message: str, target: str) -> str:
    """Say in a message from the library which option the argument came from."""
    message = re.sub(r"^((?:the \w+ of |len\()?)target\b", rf"\1{target}", message)
    message = re.sub(r"^((?:the \w+ of )?)(probs|logits|pay)\b", r"\1--\2", message)
    return message.replace("normalize=True", "--normalize")
