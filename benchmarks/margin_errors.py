"""Worst error in ulp of a float32 row's loss and gradient against the margin of its label, of crossent and its peers.

    python benchmarks/margin_errors.py [--rows 50] [--classes 10]

The rows are normal logits whose label is moved to lead the best rival by the margin, in nats; every program gets the
same ones. An error over 10^7 ulp is a number without a right digit: a float32 has 24 bits.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from accuracy import Program, run_crossent, run_pytorch, run_scipy, run_sklearn
from families import leading_by
from judge import measure
from oracle import exact_labels
from results import Results, add_options

import crossent

# From 88 nats on the exact values are subnormal.
MARGINS = np.concatenate([np.arange(-20, 30, 0.5), np.arange(30, 88, 2.0)])
PEERS: dict[str, Program] = {"torch": run_pytorch, "scipy": run_scipy, "scikit-learn": run_sklearn}


def ours(z: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return run_crossent(crossent.cpu_level(), z, label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--classes", type=int, default=10)
    add_options(parser)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with Results("margin_errors", ("program", "margin"), options, timed=False) as results:
        for margin in MARGINS:
            label = rng.integers(0, options.classes, options.rows)
            normal = rng.standard_normal((options.rows, options.classes))
            z = leading_by(normal, label, float(margin)).astype(np.float32)
            exact = exact_labels(z, label)
            for name, program in {"crossent": ours, **PEERS}.items():
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    errors = measure(*program(z, label), label, exact)
                row = {"program": name, "margin": float(margin), "rows": options.rows, "classes": options.classes}
                row |= {"loss_ulp": errors.loss, "target_ulp": errors.target, "others_ulp": errors.others}
                results.keep(row, threads=1)
    print(f"{len(MARGINS)} margins from {MARGINS[0]:g} to {MARGINS[-1]:g} nats")


if __name__ == "__main__":
    main()
