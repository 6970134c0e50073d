"""Train a small network on modular addition until its loss can fall no further, with three losses.

    python examples/softmax_collapse.py [--steps 6000] [--picture softmax_collapse.svg]

All is float32, full batch, Adam without weight decay. PyTorch's cross-entropy of a row is exactly 0, and so is its
gradient, once the label leads by ln 2^24 = 16.6 nats: training stops there by itself. The accurate loss has no such
wall; what stops it is Adam's own eps (1e-25 here, 1e-8 by default). The logarithm of the mean loss has a gradient that
does not fade, and meets no wall at all.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from crossent.torch import cross_entropy

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "PyTorch": functional.cross_entropy,
    "crossent": cross_entropy,
    "crossent, log-mean": lambda z, y: cross_entropy(z, y, reduction="log-mean"),
}
WALL = math.log(2.0**24)


def addition(modulus: int) -> tuple[Tensor, Tensor]:
    """Return all pairs, one-hot side by side, and their sums modulo ``modulus``."""
    a, b = torch.meshgrid(torch.arange(modulus), torch.arange(modulus), indexing="ij")
    pairs = torch.stack([a.reshape(-1), b.reshape(-1)], dim=1)
    return functional.one_hot(pairs, modulus).flatten(1).float(), pairs.sum(dim=1) % modulus


def margins(logits: Tensor, target: Tensor) -> Tensor:
    """Return by how many nats each label leads all other classes together."""
    label = target.unsqueeze(1)
    others = logits.double().scatter(1, label, -torch.inf).logsumexp(dim=1)
    return logits.double().gather(1, label).squeeze(1) - others


def train(
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    steps: int,
    modulus: int = 11,
    hidden: int = 64,
    learning_rate: float = 0.01,
    eps: float = 1e-25,
    seed: int = 0,
    every: int = 50,
) -> tuple[list[int], list[float]]:
    """Train one network; return the steps looked at and the median margin at each."""
    torch.manual_seed(seed)
    x, y = addition(modulus)
    network = nn.Sequential(nn.Linear(2 * modulus, hidden), nn.ReLU(), nn.Linear(hidden, modulus))
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.95), eps=eps)
    seen: tuple[list[int], list[float]] = ([], [])
    for step in range(steps + 1):
        logits = network(x)
        if step % every == 0:
            seen[0].append(step)
            seen[1].append(margins(logits.detach(), y).median().item())
        optimizer.zero_grad()
        loss(logits, y).backward()
        optimizer.step()
    return seen


def draw(curves: dict[str, tuple[list[int], list[float]]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "crossent"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name)
    axes.axhline(WALL, color="0.5", linestyle=":", linewidth=1)
    axes.text(0, WALL * 1.05, "ln 2²⁴ = 16.6", color="0.4", va="bottom")
    axes.set(xlabel="step of Adam", ylabel="median margin (nats)", yscale="symlog", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--picture", help="write the curves to this file")
    options = parser.parse_args()
    curves = {}
    for name, loss in LOSSES.items():
        curves[name] = train(loss, steps=options.steps)
        print(f"{name:20} median margin after {options.steps} steps: {curves[name][1][-1]:8.1f} nats", flush=True)
    if options.picture:
        draw(curves, options.picture)


if __name__ == "__main__":
    main()
