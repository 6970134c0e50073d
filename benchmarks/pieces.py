"""A long race in pieces: every run is kept as it ends, and a script that is called again goes on after the last."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from real_data import CACHE

# The exit status of a script that ran out of its time, as of sysexits.h: "try again later".
TRY_AGAIN = 75

Key = tuple[str | int | float, ...]


class OutOfTime(Exception):
    """The time of this piece is over, and a run is still to be done."""


class Runs:
    """The runs of one race, each under a key that names all it depends on; kept in a file, a line each.

    Parameters
    ----------
    name : str
        Of the file, in the benchmarks' cache.
    seconds : float
        Of this process, after which no run begins.
    """

    def __init__(self, name: str, seconds: float = float("inf")) -> None:
        self._path = CACHE / "runs" / f"{name}.jsonl"
        self._deadline = time.monotonic() + seconds
        self._kept: dict[Key, Any] = {}
        self.new = 0
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                key, result = json.loads(line)
                self._kept[tuple(key)] = result

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def once(self, key: Key, measure: Callable[[], Any]) -> Any:
        """Return what was measured under this key, measuring it if it never was.

        Raises
        ------
        OutOfTime
        """
        if key not in self._kept:
            # One at least, however long the data took to load: or no piece would come further than the last.
            if self.new and time.monotonic() > self._deadline:
                raise OutOfTime
            result = measure()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps([key, result]) + "\n")
            self._kept[key] = result
            self.new += 1
        return self._kept[key]

    def forget(self, names: list[str]) -> None:
        """Drop the runs with one of these names in their keys: they are to be done again."""
        self._kept = {key: result for key, result in self._kept.items() if not set(names) & set(key)}
        if self._path.exists():
            part = self._path.with_suffix(".part")
            part.write_text("".join(json.dumps(line) + "\n" for line in self._kept.items()))
            part.replace(self._path)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a script that works in pieces."""
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so many, to be called again")
    parser.add_argument("--again", nargs="+", default=[], metavar="METHOD", help="forget what was kept of these")


def open_runs(name: str, options: argparse.Namespace, started: float) -> Runs:
    """Open a race's runs as the options say; ``started`` is when the script began, by the monotonic clock."""
    runs = Runs(name, options.seconds - (time.monotonic() - started))
    if options.again:
        runs.forget(options.again)
    return runs
