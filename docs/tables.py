"""Write the tables of measured numbers of README.md and docs/ from the CSV files of the benchmarks.

    python docs/tables.py            rewrite what stands between the markers (`make tables`)
    python docs/tables.py --check    say which pages would change, and exit with 1 if one would

Which columns a table has and how they are rounded is said in docs/tables.toml.
"""

from __future__ import annotations

import argparse
import math
import re
import string
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from results import FOLDER, Cell, Row, read  # noqa: E402 - beside the benchmarks

REGION = re.compile(r"(<!-- table: (?P<name>[^>]*?) -->\n).*?(<!-- end of table -->)", re.DOTALL)
Spec = Mapping[str, Any]


class Number(float):
    """A number that `3s` formats with three significant digits, and an exponent from a million on."""

    def __format__(self, spec: str) -> str:
        if not spec.endswith("s"):
            return format(
                int(self) if self.is_integer() and not spec.endswith(("f", "%", "e", "g")) else float(self), spec
            )
        digits = int(spec[:-1])
        if self == 0 or not math.isfinite(self):
            return f"{float(self):g}"
        if abs(self) >= 1e6:
            return f"{float(self):.{digits - 1}e}".replace("e+0", "e").replace("e+", "e")
        decimals = digits - 1 - math.floor(math.log10(abs(self)))
        return f"{round(float(self), decimals):,.{max(decimals, 0)}f}"


def specs() -> dict[str, Spec]:
    return tomllib.loads((ROOT / "docs" / "tables.toml").read_text(encoding="utf-8"))


def written_pages() -> list[Path]:
    """Return README.md and the pages of docs/ that are not made when the documentation is built."""
    docs = ROOT / "docs"
    found = [path for path in sorted(docs.rglob("*.md")) if not path.relative_to(docs).parts[0].startswith("_")]
    return [ROOT / "README.md", *found]


def pages() -> list[Path]:
    """Return the pages that hold tables of measured numbers."""
    return [path for path in written_pages() if "<!-- table: " in path.read_text(encoding="utf-8")]


def rewritten(text: str, tables: Mapping[str, Spec], folder: Path = FOLDER) -> str:
    """Return a page with every table written anew from its results."""

    def region(match: re.Match[str]) -> str:
        if match["name"] not in tables:
            raise SystemExit(f"table: {match['name']!r} is not in docs/tables.toml, which has {', '.join(tables)}")
        return f"{match[1]}\n{table(tables[match['name']], folder)}\n\n{match[3]}"

    return REGION.sub(region, text)


def table(spec: Spec, folder: Path = FOLDER) -> str:
    """Return a table in Markdown, and below it what it was measured on."""
    rows = chosen(read(spec["results"], folder), spec)
    if not rows:
        return f"*Not measured: there is no such row in `benchmarks/results/{spec['results']}.csv`.*"
    lines = [[show(group, template) for template in spec["columns"].values()] for group in grouped(rows, spec)]
    lines = [[f"{first}{dagger}", *rest] for (first, *rest), dagger in zip(lines, marks(rows, spec), strict=True)]
    parts = ["| " + " | ".join(spec["columns"]) + " |", "|" + "---|" * len(spec["columns"])]
    parts += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*parts, "", caption(rows, spec)])


def chosen(rows: list[Row], spec: Spec) -> list[Row]:
    wanted = spec.get("rows", {})
    found = [row for row in rows if all(row.get(name) in _several(cells) for name, cells in wanted.items())]
    for name in reversed(spec.get("order", [])):
        column = name.removeprefix("-")
        found.sort(key=lambda row: _place(row, column, wanted), reverse=name.startswith("-"))
    return found


def _several(cells: Any) -> list[Cell]:
    return cells if isinstance(cells, list) else [cells]


def _place(row: Row, column: str, wanted: Mapping[str, Any]) -> tuple[bool, float, str]:
    value = row.get(column, "")
    listed = wanted.get(column)
    if isinstance(listed, list):
        return False, listed.index(value), ""
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


def grouped(rows: list[Row], spec: Spec) -> list[list[Row]]:
    """Return the rows of each line."""
    if "by" not in spec:
        return [[row] for row in rows]
    groups: dict[Cell, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[spec["by"]], []).append(row)
    return list(groups.values())


def marks(rows: list[Row], spec: Spec) -> list[str]:
    return [" †" if any(row.get("disturbed") == "yes" for row in group) else "" for group in grouped(rows, spec)]


def show(group: list[Row], template: str | Mapping[str, Any]) -> str:
    """Return the text of a cell: – where a number is missing, and the goal where it is missed."""
    text = template if isinstance(template, str) else template["show"]
    picked = {} if isinstance(template, str) else {name: value for name, value in template.items() if name != "show"}
    rows = [row for row in group if all(row.get(name) == value for name, value in picked.items())]
    fields = [name for _, name, _, _ in string.Formatter().parse(text) if name]
    if not rows or not set(fields) <= rows[0].keys():
        return "–"
    row = rows[0]
    cells = {name: value if isinstance(value, str) else Number(value) for name, value in row.items()}
    missed = set(str(row.get("missed", "")).split("; ")) & set(fields)
    goals = [goal.partition(" ")[2] for goal in str(row.get("goals", "")).split("; ") if goal.split(" ")[0] in missed]
    said = "".join(f" (goal: {goal})" for goal in goals).replace(">=", "≥").replace("<=", "≤")
    return text.format_map(cells) + said


def caption(rows: list[Row], spec: Spec) -> str:
    """Return a line with the machine, the dates and the versions."""

    def all_of(column: str) -> str:
        return " and ".join(sorted({str(row[column]) for row in rows if column in row}))

    dates = sorted(str(row["date"]) for row in rows)
    threads = all_of("threads")
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    machine = f"{all_of('cpu')} ({all_of('cpu_level')}), {all_of('cores')} cores"
    parts = [machine, f"{threads} thread" + "s" * (threads != "1"), when]
    parts += [
        f"{name} {all_of(name).partition('+')[0]}" for name in ("crossent", *spec.get("peers", [])) if all_of(name)
    ]
    disturbed = any(row.get("disturbed") == "yes" for row in rows)
    return "Measured on " + ", ".join(parts) + "." + " † Other programs were running." * disturbed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page would change")
    check, tables, changed = parser.parse_args().check, specs(), []
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = rewritten(text, tables)
        if new == text:
            continue
        changed.append(path)
        if not check:
            part = path.with_suffix(".part")
            part.write_text(new, encoding="utf-8")
            part.replace(path)
    for path in changed:
        print(f"{'differs from its results' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
