"""Tables of results: printed as they come, and kept as CSV in benchmarks/results/ with what they were measured on."""

from __future__ import annotations

import csv
import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent / "results"
PACKAGES = ("crossent", "numpy", "scipy", "scikit-learn", "torch", "scikit-learn-intelex", "snapml", "fasttext-wheel")


def machine() -> dict[str, str]:
    """Return the CPU, the date, and the versions of what takes part."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = names[0].split(":")[1].strip() if names else platform.processor()
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    facts = {"cpu": cpu, "cores": str(os.cpu_count()), "date": datetime.date.today().isoformat()}
    return facts | {"python": platform.python_version()} | found


def save(name: str, rows: list[dict[str, object]]) -> None:
    """Write rows to benchmarks/results/NAME.csv, every row with the machine and the versions."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.csv"
    facts = machine()
    columns = list(dict.fromkeys(key for row in rows for key in row)) + list(facts)
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({**row, **facts} for row in rows)
    part.replace(path)
    print(f"written: {path}")
