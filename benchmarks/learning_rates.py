"""How near the untuned classifier comes to the best of a grid over the learning rate and the schedule.

    python benchmarks/learning_rates.py [TASK ...] [--seconds 100]

Every run has the same rows, epochs and seed; its log-loss is that of validation rows, a tenth of the training rows,
never of test rows. Where a few rows make a log-loss what it is (of Shuttle's, those of its rarest classes), it is the
mean of several splits. The grid has the three schedules and the automatic rate times 1/2, 1 and 2, and goes on to
greater or smaller rates for as long as the last of a schedule is its best. Runs are kept as they end: after `--seconds`
the script ends with status 75, and goes on where it was when it is called again. Larger tasks take part with some of
their rows, as the table says.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from statistics import fmean

import pieces
import scipy.sparse as sp
from peers import every_class, loss_of_logits, validation_task
from pieces import TRY_AGAIN, OutOfTime, Runs, open_runs
from real_data import Task, load
from results import Results, add_options
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from crossent import SoftmaxClassifier

SCHEDULES = ("linear", "cosine", "constant")
LEAST, MOST = 1 / 32, 32.0
GOAL = 0.015


@dataclass(frozen=True)
class Case:
    """A task, the hidden layers of its models, and how many of its rows and epochs a run takes (None: the default).

    ``splits`` is how many times validation rows are drawn anew, for the mean of their log-losses.
    """

    task: str
    hidden: tuple[tuple[int, ...], ...]
    rows: int | None = None
    epochs: int | None = None
    splits: int = 1


CASES = {
    "fashion-mnist": Case("fashion-mnist", ((), (128,)), 20_000),
    "shuttle": Case("shuttle", ((), (128,)), splits=8),
    "carrier": Case("carrier", ((), (128,)), 50_000),
    "language": Case("language", ((),), 30_000),
    "soft": Case("language, soft", ((),), 30_000),
    "region": Case("region", ((),), 5_000, 5),
}


class Grid:
    """One model on one task: the validation log-losses of its learning rates and schedules."""

    def __init__(self, name: str, hidden: tuple[int, ...], runs: Runs) -> None:
        self.case, self.hidden, self.runs, self.name = CASES[name], hidden, runs, name
        self._tasks: dict[int, Task] = {}
        self.automatic = [
            runs.once(self._key("auto", 1.0, split), lambda split=split: self._fit(split, "linear", None))
            for split in range(self.case.splits)
        ]
        self.epochs = self.automatic[0][1]
        self.default = self.loss("linear", 1.0)

    def _key(self, schedule: str, times: float, split: int) -> pieces.Key:
        return (
            self.name,
            *map(str, self.hidden),
            f"{self.case.rows} rows",
            f"{self.case.epochs} epochs",
            f"split {split}",
            schedule,
            times,
        )

    def _task(self, split: int) -> Task:
        if split not in self._tasks:
            self._tasks[split] = validation_task(load(self.case.task), split, most=self.case.rows)
        return self._tasks[split]

    def loss(self, schedule: str, times: float) -> float:
        return fmean(self._loss_of(split, schedule, times) for split in range(self.case.splits))

    def _loss_of(self, split: int, schedule: str, times: float) -> float:
        if (schedule, times) == ("linear", 1.0):
            return float(self.automatic[split][2])
        rate, key = times * self.automatic[split][0], self._key(schedule, times, split)
        return float(self.runs.once(key, lambda: self._fit(split, schedule, rate))[2])

    def _fit(self, split: int, schedule: str, rate: float | None) -> tuple[float, int, float]:
        task = self._task(split)
        model = SoftmaxClassifier(
            self.hidden,
            schedule=schedule,
            learning_rate="auto" if rate is None else rate,
            max_epochs=self.case.epochs or "auto",
            random_state=0,
        )
        classes = range(len(task.classes)) if sp.issparse(task.y_train) else None
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(task.x_train, task.y_train, classes=classes)
            log_probs = every_class(model.predict_log_proba(task.x_test), model.classes_, task)
        return model.learning_rate_, model.n_iter_, loss_of_logits(log_probs, task)

    def best(self) -> tuple[float, str, float]:
        """Return the least log-loss, and the schedule and the multiple of the automatic rate that it comes from."""
        return min(self._best_of(schedule) for schedule in SCHEDULES)

    def _best_of(self, schedule: str) -> tuple[float, str, float]:
        losses = {times: self.loss(schedule, times) for times in (0.5, 1.0, 2.0)}
        for edge, factor in ((min, 0.5), (max, 2.0)):
            while (last := edge(losses)) == min(losses, key=losses.__getitem__) and LEAST < last < MOST:
                losses[last * factor] = self.loss(schedule, last * factor)
        times = min(losses, key=losses.__getitem__)
        return losses[times], schedule, times


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(CASES), metavar="TASK", help=", ".join(CASES))
    pieces.add_options(parser)
    add_options(parser)
    options = parser.parse_args()
    results = Results("learning_rates", ("task", "model"), options)
    runs = open_runs("learning-rates", options, started)
    print(f"{'task':<16}{'model':<10}{'rows':>9}{'epochs':>8}{'default':>9}{'best':>9}{'excess':>8}  best is")
    for name in options.tasks:
        for hidden in CASES[name].hidden:
            try:
                grid = Grid(name, hidden, runs)
                best, schedule, times = grid.best()
            except OutOfTime:
                print(f"{name}: {runs.new} runs done, more to do: call again")
                sys.exit(TRY_AGAIN)
            model = "x".join(map(str, hidden)) or "linear"
            rows = CASES[name].rows or load(CASES[name].task).x_train.shape[0]
            excess = grid.default / best - 1
            print(
                f"{name:<16}{model:<10}{rows:>9,}{grid.epochs:>8}{grid.default:>9.4f}{best:>9.4f}{excess:>8.2%}"
                f"  {schedule}, {times:g} times the rate",
                flush=True,
            )
            row = {"task": name, "model": model, "rows": rows, "epochs": grid.epochs, "log_loss": grid.default}
            row |= {"best_log_loss": best, "best_schedule": schedule, "best_rate": times, "excess": excess}
            results.keep(row, threads=1, goals={"excess": ("<=", GOAL)})


if __name__ == "__main__":
    main()
