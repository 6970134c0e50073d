"""How numbers are written in reports and on the terminal."""

from __future__ import annotations

import math


def significant(value: float) -> str:
    """Write a score with four decimals, or four significant digits where it is small or large.

    >>> significant(0.31234567), significant(1.2e-7), significant(12345.6)
    ('0.3123', '1.200e-07', '12346')
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4f}" if abs(value) >= 1e-3 else f"{value:.3e}"


def percent(share: float) -> str:
    """Write a share; one that is not quite 0 or 1 never reads as if it were.

    >>> percent(0.8912), percent(0.999999), percent(3e-6), percent(1.0)
    ('89.1 %', '99.9999 %', '0.0003 %', '100 %')
    """
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    if share < 1e-6:
        return f"{100 * share:.1e} %"
    distance = min(share, 1 - share)
    decimals = 1 if distance >= 0.001 else -math.floor(math.log10(distance)) - 2
    return f"{100 * share:.{decimals}f} %"


def count(n: int) -> str:
    """Write a number of things, thousands apart.

    >>> count(60000)
    '60,000'
    """
    return f"{n:,}"
