"""What one pass of a head holds beyond x, weight and their gradients, against the number of classes.

    python benchmarks/head_memory.py [--rows 1024] [--features 16] [--classes 1000 ...] [--programs crossent ...]

The most that a process of its own holds, as in head_speed.py. Few features, so that it is quick: what is held of the
logits does not depend on them. "chunked" is PyTorch's own `linear_cross_entropy`.
"""

from __future__ import annotations

import argparse

from head_speed import peak_of
from results import Results, add_options

CLASSES = (1_000, 4_000, 16_000, 64_000, 256_000)
PROGRAMS = ("crossent", "eager", "chunked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES))
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), choices=PROGRAMS)
    parser.add_argument("--max-memory", default="64MiB")
    parser.add_argument("--threads", type=int, default=2)
    parser.set_defaults(tokens=None)
    add_options(parser)
    options = parser.parse_args()
    results = Results("head_memory", ("program", "classes"), options, timed=False)
    print(f"MiB of {options.rows} rows, {options.features} features, float32\n{'classes':>9}  program       MiB")
    for classes in options.classes:
        logits = options.rows * classes * 4 / 2**20
        for program in options.programs:
            mib = peak_of(program, f"{options.rows}x{options.features}x{classes}", options)
            row = {"program": program, "classes": classes, "rows": options.rows, "features": options.features}
            goals = {"mib": ("<=", 64.0)} if program == "crossent" else {}
            results.keep({**row, "mib": mib, "logits_mib": logits}, threads=options.threads, goals=goals)
            print(f"{classes:>9}  {program:<10}{mib:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
