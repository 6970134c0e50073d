"""Numbers as plain values, and those as JSON."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np


def plain(values: Any) -> Any:
    """Return a number or an array as floats, or as strings where it holds fractions."""
    if isinstance(values, np.ndarray):
        return [plain(value) for value in values.tolist()]
    return str(values) if isinstance(values, Fraction) else float(values)


def dump_json(value: object, *, indent: int | None = 2) -> str:
    """Return JSON, with infinities as the strings "inf" and "-inf"."""
    return json.dumps(_spelled(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _spelled(value: object) -> object:
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    return value
