"""Draw the loss of a confident row and its gradient, exact, by crossent and by the textbook form, in float32.

    python docs/figures/confident_rows.py     writes docs/figures/confident_rows.svg

A row of two classes, [margin, 0], whose label is the first. Its loss is log(1 + exp(-margin)), and the gradient at the
label minus the other class's probability.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import log_softmax

import crossent

OUT = Path(__file__).with_suffix(".svg")
ZERO = 1e-49  # where 0 is drawn on the logarithmic axis
INK, OURS, TORCH, SCIPY = "#222222", "#1864ab", "#d9480f", "#f08c00"
Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def curves(margin: np.ndarray) -> Curves:
    """Return the loss and minus the gradient's entry at the label, by who computed them."""
    logits = np.stack([margin, np.zeros_like(margin)], axis=1)
    label = np.zeros(len(margin), np.int64)
    wide = margin.astype(np.float64)
    odds = np.exp(-wide)
    ours = crossent.cross_entropy_and_grad(logits, label, reduction="none")
    tensor = torch.from_numpy(logits).requires_grad_()
    loss = torch.nn.functional.cross_entropy(tensor, torch.from_numpy(label), reduction="none")
    (grad,) = torch.autograd.grad(loss.sum(), tensor)
    log_probs = log_softmax(logits, axis=1)
    return {
        "exact": (np.log1p(odds), odds / (1 + odds)),
        "crossent": (ours.loss, -ours.grad[:, 0]),
        "PyTorch": (loss.detach().numpy(), -grad[:, 0].numpy()),
        "SciPy": (-log_probs[:, 0], 1 - np.exp(log_probs[:, 0])),
    }


def draw(axes: Axes, margin: np.ndarray, values: dict[str, np.ndarray], title: str, lost_at: float) -> None:
    # In float64: float32 has no number as small as ZERO.
    shown = {name: np.where(value > 0, value.astype(np.float64), ZERO) for name, value in values.items()}
    version = torch.__version__.partition("+")[0]
    axes.plot(margin, shown["exact"], color="#ced4da", linewidth=7, solid_capstyle="round", label="exact")
    axes.plot(margin, shown["PyTorch"], color=TORCH, linewidth=2.2, label=f"PyTorch {version}")
    axes.plot(margin, shown["SciPy"], color=SCIPY, linewidth=1.4, linestyle=(0, (1, 1.5)), label="SciPy's log_softmax")
    axes.plot(margin, shown["crossent"], color=OURS, linewidth=1.8, label="crossent")
    axes.axhline(10**-46.5, color="#adb5bd", linewidth=0.8, linestyle=(0, (2, 3)))
    axes.annotate(
        f"exactly 0 from\n{lost_at:.1f} nats on",
        (lost_at + 3, 20 * ZERO),
        (lost_at + 12, 1e-36),
        color=TORCH,
        fontsize=10.5,
        arrowprops={"arrowstyle": "->", "color": TORCH, "connectionstyle": "arc3,rad=0.2", "shrinkB": 5},
    )
    axes.set_yscale("log")
    axes.set(xlim=(0, 106), ylim=(ZERO / 100, 30))
    axes.set_title(title, fontsize=11.5, loc="left", color=INK)
    axes.set_xlabel("margin of the true class (nats)", color=INK)
    axes.yaxis.set_major_locator(FixedLocator([ZERO, *(10.0**k for k in range(-40, 1, 10))]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: tick(y)))
    axes.grid(axis="y", color="#e9ecef", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def tick(y: float) -> str:
    power = round(float(np.log10(y)))
    return "0" if y == ZERO else "1" if power == 0 else f"$10^{{{power}}}$"


def first_zero(margin: np.ndarray, values: np.ndarray) -> float:
    return float(margin[np.flatnonzero(values == 0)[0]])


def main() -> None:
    mpl.rcParams.update({"svg.hashsalt": "crossent", "font.size": 10, "axes.edgecolor": "#868e96"})
    margin = np.linspace(0, 103, 4121, dtype=np.float32)
    found = curves(margin)
    figure = Figure(figsize=(9.6, 4.2), layout="constrained", facecolor="white")
    for place, (axes, title) in enumerate(
        zip(figure.subplots(1, 2), ("loss (nats), float32", "minus the gradient at the label, float32"))
    ):
        values = {name: both[place] for name, both in found.items()}
        draw(axes, margin, values, title, first_zero(margin, values["PyTorch"]))
    figure.axes[0].legend(frameon=False, loc="upper right", fontsize=10)
    figure.savefig(OUT, metadata={"Date": None})
    print(f"{OUT.name}: PyTorch's loss is 0 from {first_zero(margin, found['PyTorch'][0]):.2f} nats on")


if __name__ == "__main__":
    main()
