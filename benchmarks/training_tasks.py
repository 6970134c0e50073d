"""How long each classifier takes to a given test log-loss on real data, beside its peers.

    python benchmarks/training_tasks.py [TASK ...] [--threads 1] [--repeats 3]

Settings (learning rate or strength of regularisation) are the best of a few on validation rows taken from the training
rows. A method's budget (epochs or iterations) is then the least of its list whose median test log-loss over the seeds
reaches the target; the seconds are the median over the repeats, all methods taking turns. A method that reaches the
target with no budget of its list is shown with the best loss that it had. "cpu" counts every thread.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import argparse
import statistics
import time
from dataclasses import dataclass, field

from peers import (
    Peer,
    crossent_fit,
    crossent_on_pairs,
    fasttext_fit,
    mlp_fit,
    numpy_fit,
    saga_on_pairs,
    sgd_fit,
    sklearn_fit,
    sklearnex_fit,
    snapml_fit,
    subset,
    torch_fit,
    validation_task,
)
from real_data import TASKS, Task
from results import Results, add_options
from threadpoolctl import threadpool_limits

EPOCHS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30)
FEW_EPOCHS = (1, 2, 3, 5, 7, 10)
STRENGTHS = (0.01, 0.1, 1.0)
RATES = (0.05, 0.1, 0.2, 0.4)
Row = dict[str, object]


@dataclass(frozen=True)
class Race:
    """A task, the test log-losses to reach, and who takes part, crossent first.

    Attributes
    ----------
    relative_to : str, optional
        The peer whose best log-loss the targets are multiples of.
    goals : dict of str to tuple of float
        How many times ours each peer's CPU seconds are to be, for each target.
    rows : int, optional
        Training rows drawn for the race, where all of them would cost the slowest peer hours.
    settings_rows : int, optional
        Training rows on which settings are chosen, likewise.
    """

    task: str
    targets: tuple[float, ...]
    peers: tuple[Peer, ...]
    goals: dict[str, tuple[float, float]]
    relative_to: str | None = None
    rows: int | None = None
    settings_rows: int | None = None


RACES = {
    "linear": Race(
        "fashion-mnist",
        (0.440, 0.436),
        (
            Peer("crossent", crossent_fit(), EPOCHS),
            Peer("NumPy loop", numpy_fit, EPOCHS, RATES),
            Peer("PyTorch loop", torch_fit(), EPOCHS, RATES),
            Peer("scikit-learn lbfgs", sklearn_fit("lbfgs"), (50, 100, 150, 200), STRENGTHS),
            Peer("scikit-learn saga", sklearn_fit("saga"), (5, 7, 10), STRENGTHS),
            Peer("scikit-learn newton-cg", sklearn_fit("newton-cg"), (5, 8, 10), STRENGTHS),
            Peer("SGDClassifier", sgd_fit, (5, 20), (1e-4, 1e-3)),
            Peer("scikit-learn-intelex", sklearnex_fit("lbfgs"), (50, 100, 150), STRENGTHS, needs="sklearnex"),
            Peer("snapml", snapml_fit, (20, 100), (1.0, 10.0), needs="snapml"),
        ),
        {"NumPy loop": (2.5, 2.5), "PyTorch loop": (4, 4), "SGDClassifier": (15, 15), "snapml": (15, 15)}
        | dict.fromkeys(
            ("scikit-learn-intelex", *(f"scikit-learn {s}" for s in ("lbfgs", "saga", "newton-cg"))), (15, 15)
        ),
    ),
    "network": Race(
        "fashion-mnist",
        (0.338, 0.320),
        (
            Peer("crossent", crossent_fit((128,)), EPOCHS),
            Peer("PyTorch loop", torch_fit((128,)), EPOCHS, RATES),
            Peer("MLPClassifier", mlp_fit((128,)), (8, 12, 15, 20), (0.001, 0.003)),
        ),
        {"PyTorch loop": (3, 3), "MLPClassifier": (4, 4)},
    ),
    "text": Race(
        "language",
        (1.0, 1.05),
        (
            Peer("crossent", crossent_fit(), FEW_EPOCHS),
            Peer("scikit-learn saga", sklearn_fit("saga"), (2, 3, 5, 10), (1.0, 10.0, 100.0)),
            Peer("fastText", fasttext_fit, (3, 5, 10), (0.1, 0.25, 0.5), needs="fasttext"),
        ),
        {"scikit-learn saga": (1, 2), "fastText": (1, 1)},
        relative_to="scikit-learn saga",
        settings_rows=30_000,
    ),
    "soft": Race(
        "language, soft",
        (1.0, 1.02),
        (
            Peer("crossent", crossent_fit(), FEW_EPOCHS),
            Peer("crossent, pairs", crossent_on_pairs, FEW_EPOCHS),
            Peer("saga, pairs", saga_on_pairs, (2, 3, 5, 10), (1.0, 10.0, 100.0)),
        ),
        {"crossent, pairs": (1, 1), "saga, pairs": (1, 1)},
        relative_to="crossent, pairs",
        settings_rows=30_000,
    ),
    "regions": Race(
        "region",
        (1.0, 1.05),
        (
            Peer("crossent", crossent_fit(), FEW_EPOCHS),
            Peer("scikit-learn saga", sklearn_fit("saga"), (2, 5, 10), (10.0, 100.0)),
            Peer("scikit-learn lbfgs", sklearn_fit("lbfgs"), (10, 20, 40), (10.0, 100.0)),
        ),
        {"scikit-learn saga": (5, 5), "scikit-learn lbfgs": (5, 5)},
        relative_to="scikit-learn saga",
        rows=13_000,
        settings_rows=5_000,
    ),
}


@dataclass
class Record:
    """One method under one budget: what its runs took and reached."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)

    def run(self, peer: Peer, task: Task, budget: int, rate: float, threads: int) -> None:
        seed = len(self.loss)
        with threadpool_limits(threads):
            wall, cpu = time.perf_counter(), time.process_time()
            score = peer.fit(task, budget, rate, seed, threads)
            self.cpu.append(time.process_time() - cpu)
            self.wall.append(time.perf_counter() - wall)
            self.loss.append(score())

    def medians(self) -> dict[str, float]:
        columns = {"cpu_s": self.cpu, "wall_s": self.wall, "log_loss": self.loss}
        return {name: statistics.median(values) for name, values in columns.items()}


def choose_rate(peer: Peer, task: Task, threads: int, most: int | None) -> float:
    if len(peer.rates) == 1:
        return peer.rates[0]
    held_out, budget = validation_task(task, most=most), peer.budgets[max(len(peer.budgets) - 3, 0)]
    losses = {}
    with threadpool_limits(threads):
        for rate in peer.rates:
            losses[rate] = peer.fit(held_out, budget, rate, 0, threads)()
    return min(losses, key=losses.__getitem__)


def race(chosen: Race, threads: int, repeats: int) -> tuple[list[Row], list[Row]]:
    """Return what each method needs to reach the targets, and the time and loss of every budget that was tried."""
    task = TASKS[chosen.task]()
    if chosen.rows:
        task = subset(task, chosen.rows)
    peers = [peer for peer in chosen.peers if peer.is_installed]
    rates = {peer.name: choose_rate(peer, task, threads, chosen.settings_rows) for peer in peers}
    records: dict[tuple[str, int], Record] = {}
    needed: dict[tuple[str, float], int | None] = {}
    targets = chosen.targets
    if chosen.relative_to:
        best = best_loss(next(p for p in peers if p.name == chosen.relative_to), task, rates, threads, records)
        targets = tuple(round(best * times, 4) for times in targets)
    for target in targets:
        for peer in peers:
            needed[peer.name, target] = least_budget(peer, task, target, rates[peer.name], threads, records)
    # Who takes turns: every method at the budgets that count.
    for _ in range(repeats - 1):
        for peer in peers:
            for budget in sorted({b for (name, _), b in needed.items() if name == peer.name and b is not None}):
                records[peer.name, budget].run(peer, task, budget, rates[peer.name], threads)
    rows = f"{task.x_train.shape[0]:,} training rows"
    table: list[Row] = []
    relative = f" x best of {chosen.relative_to}" if chosen.relative_to else ""
    for aim, target in zip(chosen.targets, targets):
        found = report(f"{task.name}, {rows}", target, threads, peers, rates, records, needed)
        table += [{"aim": f"{aim:g}{relative}", **row} for row in found]
    curves: list[Row] = [
        {"method": name, "budget": budget, **record.medians()} for (name, budget), record in records.items()
    ]
    return table, curves


def best_loss(
    peer: Peer, task: Task, rates: dict[str, float], threads: int, records: dict[tuple[str, int], Record]
) -> float:
    for budget in peer.budgets:
        record = records.setdefault((peer.name, budget), Record())
        record.run(peer, task, budget, rates[peer.name], threads)
    return min(records[peer.name, budget].loss[0] for budget in peer.budgets)


def least_budget(
    peer: Peer, task: Task, target: float, rate: float, threads: int, records: dict[tuple[str, int], Record]
) -> int | None:
    for budget in peer.budgets:
        record = records.setdefault((peer.name, budget), Record())
        if not record.loss:
            record.run(peer, task, budget, rate, threads)
        if record.loss[0] <= target:
            return budget
    return None


def report(
    title: str,
    target: float,
    threads: int,
    peers: list[Peer],
    rates: dict[str, float],
    records: dict[tuple[str, int], Record],
    needed: dict[tuple[str, float], int | None],
) -> list[Row]:
    print(f"\n{title}, test log-loss {target}, {threads} thread{'s' * (threads > 1)}")
    print(
        f"{'method':<24}{'budget':>8}{'setting':>9}{'log-loss':>10}{'wall s':>9}{'cpu s':>9}{'x wall':>8}{'x cpu':>8}"
    )
    ours = needed[peers[0].name, target]
    base = records[peers[0].name, ours] if ours is not None else None
    rows = []
    for peer in peers:
        reached = needed[peer.name, target]
        setting = "" if len(peer.rates) == 1 else f"{rates[peer.name]:g}"
        # Where it is not reached: the budget that came nearest.
        budget = reached or min(peer.budgets, key=lambda b: statistics.median(records[peer.name, b].loss))
        record = records[peer.name, budget]
        wall, cpu, loss = (statistics.median(v) for v in (record.wall, record.cpu, record.loss))
        ratios: Row = {}
        if base is not None and reached:
            ratios = {"wall_ratio": wall / statistics.median(base.wall), "cpu_ratio": cpu / statistics.median(base.cpu)}
        note = "" if reached else "   not reached"
        shown = "".join(f"{ratio:8.1f}" for ratio in ratios.values())
        print(f"{peer.name:<24}{budget:>8}{setting:>9}{loss:>10.4f}{wall:9.2f}{cpu:9.2f}{shown}{note}", flush=True)
        rows.append(
            {"task": title, "target": target, "method": peer.name, "reached": "yes" if reached else "no"}
            | {"budget": budget, "setting": setting, "log_loss": loss, "wall_s": wall, "cpu_s": cpu, **ratios}
        )
    return rows


def goals_of(chosen: Race, row: Row) -> dict[str, tuple[str, float]]:
    """Return the goal of a peer that reaches the target."""
    of_peer = chosen.goals.get(str(row["method"]))
    if of_peer is None or "cpu_ratio" not in row:
        return {}
    aims = [f"{aim:g}" for aim in chosen.targets]
    return {"cpu_ratio": (">=", of_peer[aims.index(str(row["aim"]).split(" ")[0])])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("races", nargs="*", default=list(RACES), metavar="TASK", help=", ".join(RACES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    results = Results("training_tasks", ("race", "aim", "method", "threads"), options)
    curve_results = Results("training_curves", ("race", "method", "budget", "threads"), options)
    for name in options.races:
        for threads in options.threads:
            table, curves = race(RACES[name], threads, options.repeats)
            for row in table:
                results.keep({"race": name, **row}, threads=threads, goals=goals_of(RACES[name], row))
            for row in curves:
                curve_results.keep({"race": name, **row}, threads=threads)


if __name__ == "__main__":
    main()
