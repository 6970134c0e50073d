"""Contenders that take turns: what comes before a timed call, and a row of their table.

A pause comes before each: OpenMP's threads, PyTorch's and scikit-learn's, wait busily for some milliseconds after their
work, and whoever came next would be timed beside them, without that core. Then calls that are not timed bring each
contender to where a loop would have it: its threads awake, which takes a millisecond where an idle core has to be woken
with them, and its own data in the caches in place of the others'.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from results import Goals

PAUSE_SECONDS = 0.02
WARM_UP_SECONDS = 0.01


def get_ready(run: Callable[[], object]) -> None:
    """Wait for the others' threads to sleep, then call until the contender is warm, at least once."""
    time.sleep(PAUSE_SECONDS)
    end = time.perf_counter() + WARM_UP_SECONDS
    run()
    while time.perf_counter() < end:
        run()


def cells(row: Mapping[str, Any], columns: Collection[str], goals: Goals, missed: Collection[str]) -> list[str]:
    """Return a row's numbers as the terminal shows them, with the goal where it is missed."""
    shown = {name: f"{row[name]:.2f}" if name in row else "-" for name in columns}
    shown |= {name: f"[red]{shown[name]} (goal {goals[name][1]:g})[/red]" for name in missed}
    return list(shown.values())
