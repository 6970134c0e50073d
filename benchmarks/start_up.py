"""How long `import crossent` and the commands that do little take as whole processes, beside the imports of peers.

    python benchmarks/start_up.py [--repeats 7]

All take turns; medians. The roof is Python that does nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from results import Results, add_options

ROOF = "python"
PROGRAMS = {
    ROOF: ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import crossent": ["-c", "import crossent"],
    "crossent info": ["-m", "crossent", "info"],
    "crossent --help": ["-m", "crossent", "--help"],
    "import crossent.torch": ["-c", "import crossent.torch"],
    "import torch": ["-c", "import torch"],
    "import sklearn.linear_model": ["-c", "import sklearn.linear_model"],
}
GOALS = {"import crossent": 300.0}


def milliseconds(arguments: list[str]) -> tuple[float, float]:
    """Return wall and CPU milliseconds of one process."""
    wall, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after, spent = os.times(), time.perf_counter() - wall
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return 1e3 * spent, 1e3 * cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    add_options(parser)
    options = parser.parse_args()
    results = Results("start_up", ("program",), options)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for turn in range(options.repeats + 1):
        for name, arguments in PROGRAMS.items():
            spent = milliseconds(arguments)
            if turn:  # the first one reads the files from the disk
                found[name].append(spent)
    print(f"{'':<30}{'wall ms':>9}{'cpu ms':>9}")
    for name, spent in found.items():
        wall, cpu = (statistics.median(values) for values in zip(*spent))
        to_roof = statistics.median(a / b for (a, _), (b, _) in zip(spent, found[ROOF]))
        goals = {"wall_ms": ("<=", GOALS[name])} if name in GOALS else {}
        row = {"program": name, "wall_ms": wall, "cpu_ms": cpu, "repeats": options.repeats}
        results.keep(row, threads=1, goals=goals, roof=(ROOF, to_roof))
        print(f"{name:<30}{wall:>9.0f}{cpu:>9.0f}")


if __name__ == "__main__":
    main()
