"""Results of the benchmarks: a CSV file each in benchmarks/results/, every row with what it was measured on.

A benchmark makes a `Results`, gives each row to `keep` as soon as it is measured, and has the option `--results FOLDER`
from `add_options`. A row replaces the row of the same key and leaves the others: a table may be measured in pieces.
The columns of a row:

    the key                 what was measured: shape, dtype, threads, peer ...
    the measurements        as the benchmark names them, with their units
    roof, to_roof           what no program of this work can be faster than, and measured / roof
    goals, missed           "column >= number; ...", and the columns that miss theirs
    load, others            load average of a minute; cores that other processes kept busy while the row was measured
    disturbed               yes where others is over a fifth of a core (these three of times only)
    cpu, cpu_level, cores, date, python, crossent, numpy ...
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import fcntl
import functools
import numbers
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import crossent

FOLDER = Path(__file__).parent / "results"
PACKAGES = (
    *("crossent", "numpy", "scipy", "scikit-learn", "torch", "jax", "optax", "polars"),
    *("scikit-learn-intelex", "snapml", "fasttext-wheel", "jax-cce"),
)
# Of a core, by other processes: as much leaves a median of alternate runs alone.
UNDISTURBED = 0.2

Cell = int | float | str
Row = dict[str, Cell]
Goals = Mapping[str, tuple[str, float]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark the option that says where its rows go."""
    text = f"folder that the CSV file of results is written to ({FOLDER.name}/ beside the scripts), or none"
    parser.add_argument("--results", default=str(FOLDER), metavar="FOLDER", help=text)


class Results:
    """The results of one benchmark, kept row by row in FOLDER/NAME.csv.

    Results that other programs cannot disturb, errors and bytes, are not `timed`.
    """

    def __init__(self, name: str, key: Sequence[str], options: argparse.Namespace, *, timed: bool = True) -> None:
        self.key = tuple(key)
        self.timed = timed
        self.path = None if options.results == "none" else Path(options.results) / f"{name}.csv"
        self._busy = busy_seconds()
        self._circumstances: dict[str, object] = {}
        self._together: list[dict[str, str]] | None = None

    def __enter__(self) -> Results:
        """Write the rows that are kept from here on together, at the end: for very many."""
        self._together = []
        return self

    def __exit__(self, *_: object) -> None:
        rows, self._together = self._together, None
        if self.path is not None and rows:
            merge(self.path, rows, self.key)

    def keep(
        self,
        row: Mapping[str, object],
        *,
        threads: int,
        goals: Goals | None = None,
        roof: tuple[str, float] | None = None,
    ) -> list[str]:
        """Keep a row that was measured since the one before; return the columns that miss their goals.

        goals : {column: (">=" or "<=", number)}, of columns of the row.
        roof : its name, and measured / roof.
        """
        kept: dict[str, object] = {**row, "threads": threads}
        if roof:
            kept |= {"roof": roof[0], "to_roof": roof[1]}
        missed = [column for column, goal in (goals or {}).items() if not reached(kept[column], *goal)]
        if goals:
            said = [f"{column} {sign} {value:g}" for column, (sign, value) in goals.items()]
            kept |= {"goals": "; ".join(said), "missed": "; ".join(missed)}
        kept |= (self._since_before(threads) if self.timed else {}) | machine()
        text = {name: cell(value) for name, value in kept.items()}
        if self._together is not None:
            self._together.append(text)
        elif self.path is not None:
            merge(self.path, [text], self.key)
        return missed

    def _since_before(self, threads: int) -> dict[str, object]:
        """Return what else the machine did since the row before; rows kept within a second were measured together."""
        load, before, now = os.getloadavg()[0], self._busy, busy_seconds()
        if before is None or now is None:
            return {"load": load, "disturbed": "yes" if load > threads + 1 else "no"}
        if now[0] - before[0] > 1 or not self._circumstances:
            self._busy = now
            others = max(0.0, (now[1] - before[1]) / max(now[0] - before[0], 1e-3))
            disturbed = "yes" if others > UNDISTURBED else "no"
            self._circumstances = {"load": load, "others": round(others, 2), "disturbed": disturbed}
        return self._circumstances


def reached(value: object, sign: str, goal: float) -> bool:
    assert isinstance(value, numbers.Real)
    return bool(value >= goal if sign == ">=" else value <= goal)


def busy_seconds() -> tuple[float, float] | None:
    """Return seconds since some time, and the CPU seconds that others than this process and its children took in it."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(field) for field in fields)
    busy = user + nice + system + irq + softirq + steal - _own_ticks()
    return os.times().elapsed, busy / os.sysconf("SC_CLK_TCK")


def _own_ticks() -> int:
    """Return the CPU time of this process and of its descendants, of those that live and of those that have ended."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            spent[int(path.parent.name)] = sum(int(field) for field in fields[11:15])
    own, new = set[int](), {os.getpid()}
    while new:
        own |= new
        new = {pid for pid, parent in parents.items() if parent in new}
    return sum(spent.get(pid, 0) for pid in own)


@functools.cache
def machine() -> dict[str, object]:
    """Return the CPU, the date, and the versions of what takes part."""
    try:
        facts = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        facts = []
    names = [line.split(":")[1].strip() for line in facts if line.startswith("model name")]
    found: dict[str, object] = {"cpu": names[0] if names else platform.processor(), "cpu_level": crossent.cpu_level()}
    found |= {"cores": os.cpu_count(), "date": datetime.date.today().isoformat(), "python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def cell(value: object) -> str:
    """Return the text of a cell: six digits of a float, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return f"{float(value):.6g}"
    return str(value)


def merge(path: Path, rows: Sequence[dict[str, str]], key: Sequence[str]) -> None:
    """Put the rows in the place of those with their keys, and write the file anew."""

    def of(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row.get(name, "") for name in key)

    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        old = read_text(path)
        merged = {of(row): row for row in [*old, *rows]}
        kept = sorted(merged.values(), key=lambda row: [_order(text) for text in of(row)])
        part = path.with_suffix(".part")
        with part.open("w", newline="", encoding="utf-8") as file:
            columns = dict.fromkeys(name for row in [*rows, *old] for name in row)
            writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
        part.replace(path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write into the folder."""
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _order(text: str) -> tuple[bool, float, str]:
    value = typed(text)
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


def read_text(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read(name: str, folder: Path = FOLDER) -> list[Row]:
    """Return the rows of a benchmark's results, numbers as numbers, without the cells that are empty."""
    rows = read_text(folder / f"{name}.csv")
    return [{column: typed(text) for column, text in row.items() if text} for row in rows]


def typed(text: str) -> Cell:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
