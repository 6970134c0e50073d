"""What 10^8 classes cost on 8 to 4096 ranks, and a simulation of the messages that the layouts send.

    python benchmarks/scale.py [--classes 100000000] [--features 512] [--rows 8192]

The tables come from ``crossent.torch.parallel.step_cost``. The simulation sends every message of every collective
operation between virtual ranks, each with a clock of its own: a message leaves when its sender has the numbers and its
wire is free, and takes a latency and its bytes' time. It checks what the cost model says of bytes and hops, carries
real numbers where there are few ranks and checks their sums, and tells what rings cost where latency counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from crossent.torch.parallel import StepCost, step_cost

RANKS = (8, 64, 512, 4096)
FLOPS, FAST, SLOW, LATENCY = 400e12, 50e9, 1.25e9, 5e-6
# Up to this many ranks the messages carry numbers.
CARRIED = 16


class Wires:
    """Virtual ranks: a clock for each, the bytes that it has sent, and the numbers that it holds."""

    def __init__(self, ranks: int, latency: float, bandwidth: float, seed: int = 0) -> None:
        self.latency, self.bandwidth = latency, bandwidth
        self.clock = np.zeros(ranks)
        self.sent = np.zeros(ranks)
        self.hops = 0
        self.random = np.random.default_rng(seed)

    def send(self, senders: np.ndarray, receivers: np.ndarray, sizes: np.ndarray) -> None:
        """Every sender sends at once; a receiver goes on when its message is there."""
        done = self.clock[senders] + sizes / self.bandwidth
        arrival = done + self.latency
        self.sent[senders] += sizes
        after = self.clock.copy()
        after[senders] = np.maximum(after[senders], done)
        after[receivers] = np.maximum(after[receivers], arrival)
        self.clock = after
        self.hops += 1


def ring_all_reduce(wires: Wires, group: np.ndarray, payload: float) -> None:
    """Reduce-scatter, then all-gather, around the rings of ``group`` (groups, members): at each hop a part goes on."""
    groups, size = group.shape
    if size == 1:
        return
    held = wires.random.integers(0, 100, (groups, size, size)) if size <= CARRIED else None
    expected = None if held is None else held.sum(axis=1)
    after = np.roll(group, -1, axis=1)
    parts = np.full(group.size, payload / size)
    for hop in range(2 * (size - 1)):
        wires.send(group.ravel(), after.ravel(), parts)
        if held is not None:
            reducing = hop < size - 1
            old = held.copy()
            for member in range(size):
                part = (member - hop) % size if reducing else (member + 1 - (hop - size + 1)) % size
                to = (member + 1) % size
                held[:, to, part] = old[:, member, part] + (old[:, to, part] if reducing else 0)
    if held is not None and not (held == expected[:, None, :]).all():
        raise AssertionError("the ring does not sum")


def ring_all_gather(wires: Wires, group: np.ndarray, payload: float) -> None:
    size = group.shape[1]
    for _ in range(size - 1):
        wires.send(group.ravel(), np.roll(group, -1, axis=1).ravel(), np.full(group.size, payload / size))


def halving_all_reduce(wires: Wires, group: np.ndarray, payload: float) -> None:
    """Exchange halves with ranks ever farther away, then back: as many bytes as a ring, in 2 log2(size) hops."""
    size = group.shape[1]
    distances = [1 << k for k in range(size.bit_length() - 1)]
    if size != 1 << len(distances):
        raise ValueError(f"{size} ranks: expected a power of 2")
    parts = [payload / (2 << k) for k in range(len(distances))]
    for distance, part in [*zip(distances, parts, strict=True), *zip(distances[::-1], parts[::-1], strict=True)]:
        partner = group[:, np.arange(size) ^ distance]
        wires.send(group.ravel(), partner.ravel(), np.full(group.size, part))


def simulated(cost: StepCost, class_ranks: int, row_ranks: int, reduce: Callable[..., None], wires: Wires) -> Wires:
    """Send what a step sends: rank r holds the classes r % class_ranks of the rows r // class_ranks."""
    grid = np.arange(class_ranks * row_ranks).reshape(row_ranks, class_ranks)
    if cost.gather:
        ring_all_gather(wires, grid, cost.gather)
    for payload in (cost.top, cost.sums):
        reduce(wires, grid, payload)
    if row_ranks > 1:
        reduce(wires, grid.T, 40)
    reduce(wires, grid, cost.x_grad)
    if row_ranks > 1:
        reduce(wires, grid.T, cost.weight_grad)
    return wires


def best_layout(ranks: int, classes: int, features: int, rows_each: int) -> tuple[int, int]:
    """Return the class ranks and row ranks, of powers of 2, that send least when every rank makes its own rows."""
    splits = [(1 << k, ranks >> k) for k in range(ranks.bit_length())]
    return min(splits, key=lambda split: own_rows(classes, features, rows_each, *split).sent)


def own_rows(classes: int, features: int, rows_each: int, class_ranks: int, row_ranks: int) -> StepCost:
    """Return the cost where every rank makes ``rows_each`` rows, gathered over the ranks that share them."""
    return step_cost(
        classes,
        features,
        rows_each * class_ranks,
        class_ranks=class_ranks,
        row_ranks=row_ranks,
        gathered=class_ranks > 1,
    )


def layouts(classes: int, features: int, rows: int) -> dict[str, list[tuple[int, int, StepCost]]]:
    """Return the layouts of each table: class ranks, row ranks, cost."""
    shared = [(r, 1, step_cost(classes, features, rows, class_ranks=r)) for r in RANKS]
    gathered = [(r, 1, own_rows(classes, features, rows, r, 1)) for r in RANKS]
    best = [best_layout(r, classes, features, rows) for r in RANKS]
    grid = [(t, p, own_rows(classes, features, rows, t, p)) for t, p in best]
    return {
        f"all ranks share {rows:,} rows": shared,
        f"every rank makes {rows:,} rows, all gather them": gathered,
        f"every rank makes {rows:,} rows, gathered by class group": grid,
    }


def table_of(title: str, rows: list[tuple[int, int, StepCost]]) -> Table:
    table = Table(title=title, title_justify="left")
    headings = ("ranks", "classes x rows", "held GB", "of it rows", "logits GB", "sent GB", "PFLOP")
    for heading in (*headings, "products s", "50 GB/s s", "10 Gb/s s", "simulated: ring s", "halving s"):
        table.add_column(heading, justify="right")
    for class_ranks, row_ranks, cost in rows:
        ring = simulated(cost, class_ranks, row_ranks, ring_all_reduce, Wires(class_ranks * row_ranks, LATENCY, FAST))
        check(cost, ring)
        halving = Wires(class_ranks * row_ranks, LATENCY, FAST)
        simulated(cost, class_ranks, row_ranks, halving_all_reduce, halving)
        products, sending = cost.seconds(FLOPS, FAST)
        table.add_row(
            f"{class_ranks * row_ranks:,}",
            f"{class_ranks} x {row_ranks}",
            f"{cost.held / 1e9:.3g}",
            f"{cost.rows / 1e9:.3g}",
            f"{cost.logits / 1e9:,.4g}",
            f"{cost.sent / 1e9:.3g}",
            f"{cost.flops / 1e15:.3g}",
            f"{products:.3g}",
            f"{sending:.3g}",
            f"{cost.seconds(FLOPS, SLOW)[1]:.3g}",
            f"{ring.clock.max():.3g}",
            f"{halving.clock.max():.3g}",
        )
    return table


def check(cost: StepCost, wires: Wires) -> None:
    """Compare a simulation by rings with the model."""
    if not np.allclose(wires.sent, cost.sent, rtol=1e-9):
        raise AssertionError(f"simulated: {wires.sent.min()} to {wires.sent.max()} bytes sent, model: {cost.sent}")
    if wires.hops != cost.hops:
        raise AssertionError(f"simulated: {wires.hops} hops, model: {cost.hops}")
    sending = cost.sent / wires.bandwidth + cost.hops * wires.latency
    if not np.allclose(wires.clock, sending, rtol=1e-9):
        raise AssertionError(f"simulated: {wires.clock.max()} s, model: {sending} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("classes", 10**8), ("features", 512), ("rows", 8192)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    console = Console(width=max(150, Console().width))
    console.print(
        f"{options.classes:,} classes, {options.features} features, float32, SGD with momentum; per rank and step. "
        f"Products at {FLOPS / 1e12:.0f} TFLOP/s; simulated: {FAST / 1e9:.0f} GB/s, {LATENCY * 1e6:.0f} µs a message."
    )
    for title, rows in layouts(options.classes, options.features, options.rows).items():
        console.print(table_of(title, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
