"""What the values of options are, from their text."""

from __future__ import annotations

import csv
from typing import TypeVar

from crossent.errors import invalid_choice, invalid_value

T = TypeVar("T")

# A linear model of no more weights and biases is at its minimum in the time that a few epochs take.
EXACT_PARAMETERS = 512


def layer_sizes(text: str) -> tuple[int, ...]:
    if text.strip().lower() in ("none", "0"):
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise invalid_value("--hidden", text, "layer sizes such as 128 or 256,64, or none")
    return sizes


def columns(text: str | None) -> tuple[str, ...]:
    names = () if text is None else tuple(next(csv.reader([text])))
    if len(set(names)) < len(names) or any(not name.strip() for name in names):
        raise invalid_value("--label-probs", text, "different columns with commas between")
    return names


def rate(text: str) -> float | str:
    if text == "auto":
        return text
    value = _number(text)
    if value is None or not 0 < value < float("inf"):
        raise invalid_value("--learning-rate", text, "auto or a positive number")
    return value


def class_weight(text: str | None) -> str | dict[str, float] | None:
    """Return "balanced", or the weight of each class named: ``cat=2,dog=0.5``."""
    if text in (None, "balanced"):
        return text
    weights: dict[str, float] = {}
    for part in next(csv.reader([text or ""]), []):
        name, mark, number = part.rpartition("=")
        weight = _number(number)
        if not mark or not name or weight is None or not 0 < weight < float("inf") or name in weights:
            raise invalid_value("--class-weight", text, "balanced, or classes with positive weights: cat=2,dog=0.5")
        weights[name] = weight
    return weights


def peer(name: str | None) -> str | None:
    if name not in (None, "sklearn"):
        raise invalid_choice("--compare", name, ["sklearn"])
    return name


def share(option: str, value: float) -> float:
    if not 0 <= value < 1:
        raise invalid_value(option, value, "a share of the rows in [0, 1)")
    return value


def needs_validation(option: str, value: T, validation: float | None) -> T:
    if value and validation == 0:
        raise invalid_value(option, value, "a --validation part to judge by")
    return value


def test(text: str | None) -> str | float | None:
    """Return a share of the rows, or the name of a file."""
    value = None if text is None else _number(text)
    return text if value is None else share("--test", value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
