"""Amounts of memory as people write them: "64MiB", "1.5 GB", or a number of bytes."""

from __future__ import annotations

import re

from crossent.errors import invalid_type, invalid_value

_UNITS = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for unit, base in (("", 1024), ("iB", 1024), ("B", 1000))
}
_NAMES = {unit.lower(): size for unit, size in _UNITS.items()}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)


def bytes_of(argument: str, amount: int | str) -> int:
    """Return an amount of memory in bytes.

    >>> bytes_of("max_memory", "64MiB"), bytes_of("max_memory", "1 GB"), bytes_of("max_memory", 4096)
    (67108864, 1000000000, 4096)
    """
    expected = "a positive number of bytes, or a text such as '64MiB' or '1GB'"
    if isinstance(amount, str):
        found = _AMOUNT.fullmatch(amount)
        if found is None or found[2].lower() not in _NAMES:
            raise invalid_value(argument, amount, expected)
        size = int(float(found[1]) * _NAMES[found[2].lower()])
    elif isinstance(amount, bool) or not hasattr(amount, "__index__"):
        raise invalid_type(argument, amount, expected)
    else:
        size = amount.__index__()
    if size < 1:
        raise invalid_value(argument, amount, expected)
    return size


def text_of(size: float) -> str:
    """Return bytes as a person reads them.

    >>> text_of(67108864), text_of(1536), text_of(12)
    ('64 MiB', '1.5 KiB', '12 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
