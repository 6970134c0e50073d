"""From a CSV file to a scored classifier, as whole processes: `crossent train` beside a scikit-learn pipeline.

    python benchmarks/command_line.py [carrier shuttle million] [--methods "crossent, linear" ...] [--repeats 3]

Both read the same two files, one to learn from and one to be scored on, impute and standardise numbers, mark missing
ones and make categories one-hot. The pipeline reads with polars, as fast as it gets. The seconds are those of the whole
process, its imports included, with one thread; the log-loss is that of the scored file. "million" repeats the flights
of "carrier" up to a million rows.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
MILLION = 1_000_000
OURS = ("crossent, linear", "crossent, 128 units")
# Of the pipeline: the model, and its iterations or epochs.
PIPELINES = {
    "lbfgs, 30 iterations": ("lbfgs", 30),
    "lbfgs, 100 iterations": ("lbfgs", 100),
    "saga, 10 epochs": ("saga", 10),
    "MLPClassifier, 5 epochs": ("mlp", 5),
    "MLPClassifier, 10 epochs": ("mlp", 10),
}


def write_tables(name: str, folder: Path) -> tuple[Path, Path, str]:
    """Write the two files; return them and the column to predict."""
    from real_data import carrier_table, shuttle_table

    train, test, label = (*shuttle_table(), "Class") if name == "shuttle" else (*carrier_table(), "carrier")
    if name == "million":
        train = pl.concat([train] * -(-MILLION // len(train))).head(MILLION)
    paths = folder / f"{name}-train.csv", folder / f"{name}-test.csv"
    train.write_csv(paths[0])
    test.write_csv(paths[1])
    return *paths, label


def pipeline(train_path: str, test_path: str, label: str, model_name: str, budget: int) -> None:
    """The peer: a script that reads, fits, and prints the log-loss."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, test = pl.read_csv(train_path), pl.read_csv(test_path)
    y_train, y_test = (frame[label].to_numpy() for frame in (train, test))
    train, test = train.drop(label), test.drop(label)
    words = [name for name, dtype in train.schema.items() if dtype == pl.String]
    numbers = [name for name in train.columns if name not in words]
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32), words),
    )
    x_train, x_test = (x.astype(np.float32) for x in (encode.fit_transform(train), encode.transform(test)))
    if model_name == "mlp":
        model = MLPClassifier((128,), max_iter=budget, random_state=0)
    else:
        model = LogisticRegression(solver=model_name, max_iter=budget, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x_train, y_train)
        print("test log-loss", log_loss(y_test, model.predict_proba(x_test), labels=model.classes_))


def commands(train: Path, test: Path, label: str, folder: Path) -> dict[str, list[str]]:
    ours = [sys.executable, "-m", "crossent", "train", str(train), "--label", label, "--test", str(test)]
    ours += ["--no-report", "--out", str(folder / "model")]
    found = {name: [*ours, "--hidden", units] for name, units in zip(OURS, ("none", "128"))}
    for name, (model, budget) in PIPELINES.items():
        found[name] = [sys.executable, __file__, "--pipeline", str(train), str(test), label, model, str(budget)]
    return found


def run(command: list[str]) -> tuple[float, float, float]:
    """Return the seconds of the process, by the clock and of CPU, and the log-loss that it prints."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    printed = re.search(r"test log-loss\s+([0-9.]+)", done.stdout)
    assert printed is not None, done.stdout
    return wall, cpu, float(printed[1])


def race(name: str, methods: list[str], repeats: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        train, test, label = write_tables(name, folder)
        runs = {
            method: command for method, command in commands(train, test, label, folder).items() if method in methods
        }
        seconds: dict[str, list[tuple[float, float]]] = {method: [] for method in runs}
        losses = dict.fromkeys(runs, np.nan)
        for _ in range(repeats):
            for method, command in runs.items():
                *spent, losses[method] = run(command)
                seconds[method].append((spent[0], spent[1]))
    print(f"\n{name}, from CSV, 1 thread\n{'method':<28}{'wall s':>8}{'cpu s':>8}{'test log-loss':>15}")
    medians = {method: np.median(spent, axis=0) for method, spent in seconds.items()}
    rows = []
    for method, (wall, cpu) in medians.items():
        print(f"{method:<28}{wall:>8.2f}{cpu:>8.2f}{losses[method]:>15.4f}", flush=True)
        row = {"task": name, "method": method, "wall_s": wall, "cpu_s": cpu, "log_loss": losses[method]}
        against = OURS[1] if method.startswith("MLP") else OURS[0]
        if method not in OURS and against in medians:
            row |= {"cpu_ratio": cpu / medians[against][1], "loss_excess": losses[method] - losses[against]}
        rows.append(row | {"repeats": repeats})
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--pipeline"]:
        train, test, label, model, budget = sys.argv[2:]
        pipeline(train, test, label, model, int(budget))
        return
    from results import Results, add_options

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["carrier", "shuttle"], metavar="TASK")
    parser.add_argument("--methods", nargs="+", choices=[*OURS, *PIPELINES], default=[*OURS, *PIPELINES])
    parser.add_argument("--repeats", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    results = Results("command_line", ("task", "method"), options)
    for name in options.tasks:
        for row in race(name, options.methods, options.repeats):
            goals = {"cpu_ratio": (">=", 1.0), "loss_excess": (">=", -0.001)} if "cpu_ratio" in row else {}
            results.keep(row, threads=1, goals=goals)


if __name__ == "__main__":
    main()
