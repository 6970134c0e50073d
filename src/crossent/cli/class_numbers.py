"""Numbers per class as a user writes them: on the command line, in CSV, or in JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from crossent.errors import DataError

if TYPE_CHECKING:
    from crossent.explanation.payments import Number

_LARGEST_EXPONENT = 400

FORM = (
    "NAME=NUMBER,NAME=NUMBER,… or @FILE (CSV lines NAME,NUMBER or a JSON object). "
    'A name is what stands before the last "="; quote one with a comma as CSV does: "\\"a, b\\"=0.5,c=0.5".'
)


def read_numbers(text: str, option: str, *, exact: bool = False) -> dict[str, Number]:
    """Return the numbers per class that an option was given, inline or as @FILE.

    A number may be written as a fraction, 1/2; with ``exact`` every number is kept as one.

    >>> read_numbers('dog=0.5,"a, b=c"=0.25,cat=0.25', "--probs")
    {'dog': 0.5, 'a, b=c': 0.25, 'cat': 0.25}
    >>> read_numbers("dog=1/2,cat=0.49,bird=1e-2", "--probs", exact=True)
    {'dog': Fraction(1, 2), 'cat': Fraction(49, 100), 'bird': Fraction(1, 100)}
    """
    if text.startswith("@"):
        return _from_file(Path(text[1:]), option, exact)
    pairs = []
    for field in next(csv.reader([text], skipinitialspace=True), []):
        name, equals, value = field.rpartition("=")
        if not equals:
            raise ValueError(f"{option}: {field!r} is not NAME=NUMBER")
        pairs.append((name, value))
    return _numbers(pairs, option, exact)


def _from_file(path: Path, option: str, exact: bool) -> dict[str, Number]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", path=path) from None
    except OSError as error:
        raise DataError(error.strerror or "cannot be read", path=path) from None
    if text.lstrip().startswith(("{", "[")):
        try:
            pairs = json.loads(text, object_pairs_hook=list, parse_float=str)
        except json.JSONDecodeError as error:
            raise DataError(f"is not JSON: {error}", path=path) from None
        if not all(isinstance(pair, tuple) for pair in pairs) or not text.lstrip().startswith("{"):
            raise DataError("expected one JSON object, {name: number, …}", path=path)
        return _numbers(pairs, f"{option} {path}", exact)
    lines = [(at, line) for at, line in enumerate(csv.reader(text.splitlines()), 1) if any(map(str.strip, line))]
    for at, line in lines:
        if len(line) != 2:
            raise DataError(f"line {at} has {len(line)} fields: expected NAME,NUMBER", path=path)
    pairs = [(line[0], line[1]) for _, line in lines]
    if pairs and not _is_number(pairs[0][1]) and all(_is_number(value) for _, value in pairs[1:]):
        del pairs[0]  # the header
    return _numbers(pairs, f"{option} {path}", exact)


def _numbers(pairs: Iterable[tuple[str, object]], where: str, exact: bool) -> dict[str, Number]:
    found: dict[str, Number] = {}
    for raw, value in pairs:
        name = raw.strip()
        if not name:
            raise ValueError(f"{where}: a number without a class name, {value!r}")
        if name in found:
            raise ValueError(f"{where}: class {name!r} is given twice")
        number = None if isinstance(value, bool) else _number(str(value), exact)
        if number is None:
            kind = "a fraction, or a decimal between 1e-400 and 1e400" if exact else "a number"
            raise ValueError(f"{where}: {name} = {value!r}: expected {kind}")
        found[name] = number
    if not found:
        raise ValueError(f"{where} is empty: expected NAME=NUMBER for at least one class")
    return found


def _is_number(text: str) -> bool:
    return _number(text, exact=False) is not None


def _number(text: str, exact: bool) -> Number | None:
    """Return the number that a text is, None where it is none."""
    if "_" in text:  # Python reads 1_0
        return None
    try:
        if "/" in text:
            value = Fraction(text)
            return value if exact else float(value)
        if exact:
            return Fraction(text) if abs(Decimal(text).adjusted()) <= _LARGEST_EXPONENT else None
        number = float(text)
    except (ArithmeticError, ValueError):
        return None
    return None if math.isnan(number) else number
