"""How long each classifier takes to a given test log-loss on real data, beside its peers.

    python benchmarks/training_tasks.py [TASK ...] [--threads 1] [--methods METHOD ...] [--seconds 100]

Settings (learning rate or strength of regularisation) are the best of a few on validation rows taken from the training
rows. A method's budget (epochs or iterations) is then the least of its list whose test log-loss reaches the target; its
seconds and its loss are the medians over the repeats, each with a seed of its own, all methods taking turns. Budgets
that would take over `--longest` CPU seconds are not tried: a method that reaches the target with none is shown with the
best loss that it had. "cpu" counts every thread. Runs are kept as they end: after `--seconds` the script ends with
status 75, and goes on where it was when it is called again.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import argparse
import contextlib
import importlib
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pieces
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
from pieces import TRY_AGAIN, Key, OutOfTime, Runs, open_runs
from real_data import Task, load
from results import Results, add_options
from threadpoolctl import threadpool_limits

EPOCHS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30)
FEW_EPOCHS = (1, 2, 3, 5, 7, 10)
STRENGTHS = (0.01, 0.1, 1.0)
RATES = (0.05, 0.1, 0.2, 0.4)
# Before any fit: the seconds of importing them are no part of it.
IMPORTED = ("torch", "sklearn.linear_model", "sklearn.neural_network", "sklearnex", "snapml", "fasttext")
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
            Peer("fastText", fasttext_fit, (2, 3, 5, 10), (0.25, 0.5, 1.0), needs="fasttext"),
        ),
        {"scikit-learn saga": (1, 2), "fastText": (1, 1)},
        relative_to="scikit-learn saga",
        rows=100_000,
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
        rows=100_000,
        settings_rows=30_000,
    ),
    "regions": Race(
        "region",
        (1.0, 1.05),
        (
            Peer("crossent", crossent_fit(), FEW_EPOCHS),
            Peer("scikit-learn saga", sklearn_fit("saga"), (2, 5, 10), (10.0, 100.0)),
            # Not lbfgs: of 31 million weights its last twenty vectors take 5 GB.
        ),
        {"scikit-learn saga": (5, 5)},
        relative_to="scikit-learn saga",
        rows=13_000,
        settings_rows=5_000,
    ),
}


class Run(NamedTuple):
    """What one fit took, and the test log-loss that it reached."""

    wall: float
    cpu: float
    loss: float


class Contest:
    """One race under way: what every run of it took and reached, from the kept runs or run now."""

    def __init__(self, chosen: Race, threads: int, longest: float, methods: list[str] | None, runs: Runs) -> None:
        self.threads, self.longest, self.runs = threads, longest, runs
        task = load(chosen.task)
        self.task = subset(task, chosen.rows) if chosen.rows else task
        wanted = {chosen.peers[0].name, chosen.relative_to, *(methods or [peer.name for peer in chosen.peers])}
        self.peers = [peer for peer in chosen.peers if peer.is_installed and peer.name in wanted]
        self.held_out: Task | None = None
        self.settings = {peer.name: self._choose(peer, chosen.settings_rows) for peer in self.peers}

    def _choose(self, peer: Peer, most: int | None) -> float:
        if len(peer.rates) == 1:
            return peer.rates[0]
        budget = peer.budgets[max(len(peer.budgets) - 3, 0)]
        losses = {}
        for rate in peer.rates:
            key = ("setting", peer.name, budget, rate, self.threads)
            losses[rate] = self.runs.once(key, lambda rate=rate: self._on_validation(peer, budget, rate, most))
        return min(losses, key=losses.__getitem__)

    def _on_validation(self, peer: Peer, budget: int, rate: float, most: int | None) -> float:
        if self.held_out is None:
            self.held_out = validation_task(self.task, most=most)
        with threadpool_limits(self.threads):
            return peer.fit(self.held_out, budget, rate, 0, self.threads)()

    def run(self, peer: Peer, budget: int, seed: int) -> Run:
        rate = self.settings[peer.name]
        return Run(*self.runs.once(self._key(peer, budget, seed), lambda: self._measure(peer, budget, rate, seed)))

    def _key(self, peer: Peer, budget: int, seed: int) -> Key:
        return ("run", peer.name, budget, self.settings[peer.name], seed, self.threads)

    def _measure(self, peer: Peer, budget: int, rate: float, seed: int) -> tuple[float, float, float]:
        with threadpool_limits(self.threads):
            wall, cpu = time.perf_counter(), time.process_time()
            score = peer.fit(self.task, budget, rate, seed, self.threads)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            return wall, cpu, score()

    def tried(self, peer: Peer) -> Iterator[tuple[int, Run]]:
        """Run the peer's budgets, the least first, for as long as none is expected to take too long."""
        before: tuple[int, Run] | None = None
        for budget in peer.budgets:
            if before is not None and before[1].cpu * budget / before[0] > self.longest:
                return
            before = budget, self.run(peer, budget, 0)
            yield before

    def already_tried(self, peer: Peer) -> list[tuple[int, Run]]:
        """Return the budgets that have been run, each with its first seed."""
        keys = {budget: self._key(peer, budget, 0) for budget in peer.budgets}
        return [(budget, self.run(peer, budget, 0)) for budget, key in keys.items() if key in self.runs]

    def best_loss(self, name: str) -> float:
        peer = next(peer for peer in self.peers if peer.name == name)
        return min(run.loss for _, run in self.tried(peer))

    def least_budget(self, peer: Peer, target: float) -> int | None:
        return next((budget for budget, run in self.tried(peer) if run.loss <= target), None)

    def seeds(self, peer: Peer, budget: int, repeats: int) -> range:
        """Return the seeds that a budget is run with: fewer than asked for where one takes long."""
        return range(max(1, min(repeats, int(self.longest / self.run(peer, budget, 0).cpu))))

    def medians(self, peer: Peer, budget: int, seeds: range) -> Run:
        return Run(*map(statistics.median, zip(*(self.run(peer, budget, seed) for seed in seeds), strict=True)))


def race(chosen: Race, threads: int, options: argparse.Namespace, runs: Runs) -> tuple[list[Row], list[Row]]:
    """Return what each method needs to reach the targets, and the time and loss of every budget that was tried."""
    contest, repeats = Contest(chosen, threads, options.longest, options.methods, runs), options.repeats
    best = contest.best_loss(chosen.relative_to) if chosen.relative_to else 1.0
    # Rounded up, that the peer itself reaches its own.
    targets = tuple(math.ceil(best * times * 1e4 - 1e-9) / 1e4 for times in chosen.targets)
    needed = {(p.name, target): contest.least_budget(p, target) for target in targets for p in contest.peers}
    # Who takes turns: every method at the budgets that count.
    counting = sorted({(name, b) for (name, _), b in needed.items() if b is not None}, key=lambda pair: pair[1])
    peers = {peer.name: peer for peer in contest.peers}
    for seed in range(1, repeats):
        for name, budget in counting:
            if seed in contest.seeds(peers[name], budget, repeats):
                contest.run(peers[name], budget, seed)
    title = f"{contest.task.name}, {contest.task.x_train.shape[0]:,} training rows"
    relative = f" x best of {chosen.relative_to}" if chosen.relative_to else ""
    table: list[Row] = []
    for aim, target in zip(chosen.targets, targets):
        found = report(title, target, contest, needed, repeats)
        table += [{"aim": f"{aim:g}{relative}", **row} for row in found]
    curves: list[Row] = [
        {"method": peer.name, "budget": budget, "log_loss": run.loss, "wall_s": run.wall, "cpu_s": run.cpu}
        for peer in contest.peers
        for budget, run in contest.already_tried(peer)
    ]
    return table, curves


def report(
    title: str, target: float, contest: Contest, needed: dict[tuple[str, float], int | None], repeats: int
) -> list[Row]:
    threads = contest.threads
    print(f"\n{title}, test log-loss {target}, {threads} thread{'s' * (threads > 1)}")
    print(
        f"{'method':<24}{'budget':>8}{'setting':>9}{'log-loss':>10}{'wall s':>9}{'cpu s':>9}{'x wall':>8}{'x cpu':>8}"
    )
    first = contest.peers[0]
    ours = needed[first.name, target]
    base = None if ours is None else contest.medians(first, ours, contest.seeds(first, ours, repeats))
    rows = []
    for peer in contest.peers:
        reached = needed[peer.name, target]
        setting = "" if len(peer.rates) == 1 else f"{contest.settings[peer.name]:g}"
        # Where it is not reached: the budget that came nearest, with the one seed that it was tried with.
        budget = reached or min(contest.tried(peer), key=lambda tried: tried[1].loss)[0]
        seeds = contest.seeds(peer, budget, repeats if reached else 1)
        run = contest.medians(peer, budget, seeds)
        ratios: Row = {}
        if base is not None and reached:
            ratios = {"wall_ratio": run.wall / base.wall, "cpu_ratio": run.cpu / base.cpu}
        shown = "".join(f"{ratio:8.1f}" for ratio in ratios.values())
        note = "" if reached else "   not reached"
        print(f"{peer.name:<24}{budget:>8}{setting:>9}{run.loss:>10.4f}{run.wall:9.2f}{run.cpu:9.2f}{shown}{note}")
        rows.append(
            {"task": title, "target": target, "method": peer.name, "reached": "yes" if reached else "no"}
            | {"budget": budget, "setting": setting, "log_loss": run.loss, "wall_s": run.wall, "cpu_s": run.cpu}
            | {"repeats": len(seeds), **ratios}
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
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("races", nargs="*", default=list(RACES), metavar="TASK", help=", ".join(RACES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="training rows to draw, in the place of a race's own number")
    parser.add_argument("--longest", type=float, default=120.0, help="CPU seconds of a budget that is still tried")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="those that race with ours; all where not given")
    pieces.add_options(parser)
    add_options(parser)
    options = parser.parse_args()
    for module in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    results = Results("training_tasks", ("race", "aim", "method", "threads"), options)
    curve_results = Results("training_curves", ("race", "method", "budget", "threads"), options)
    for name in options.races:
        chosen = RACES[name] if options.rows is None else replace(RACES[name], rows=options.rows)
        runs = open_runs(f"training-{name}-{chosen.rows or 'all'}", options, started)
        for threads in options.threads:
            try:
                table, curves = race(chosen, threads, options, runs)
            except OutOfTime:
                print(f"{name}: {runs.new} runs done, more to do: call again")
                sys.exit(TRY_AGAIN)
            for row in table:
                results.keep({"race": name, **row}, threads=threads, goals=goals_of(RACES[name], row))
            for row in curves:
                curve_results.keep({"race": name, **row}, threads=threads)


if __name__ == "__main__":
    main()
