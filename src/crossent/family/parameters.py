"""A loss's parameters, checked when the loss is made."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from crossent.errors import invalid_type, invalid_value


def check(
    argument: str, value: object, expected: str, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Raise unless the value is a finite number in [low, high], and above ``low`` where ``above`` is set."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise invalid_type(argument, value, expected)
    number = float(value)
    if not (low <= number <= high and math.isfinite(number)) or (above and number == low):
        raise invalid_value(argument, value, expected)
