"""Draw docs/figures/collapse.svg: the loss and the target's gradient against the margin, crossent beside log_softmax.

    python docs/figures/collapse.py

Two classes in float32; the margin is how far the target's logit lies above the other. The textbook form is computed
with NumPy, as libraries do it: z - max, exp, sum, log; and the gradient as softmax minus one-hot.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import crossent

INK, PALE, BLUE, ORANGE = "#222222", "#d9d9d9", "#2b5ea8", "#c2500f"


def textbook(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return loss and the target's gradient (class 0) of float32 logits, all arithmetic in float32."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_probs[:, 0], np.exp(log_probs[:, 0]) - np.float32(1)


def main() -> None:
    margins = np.linspace(0, 40, 1601, dtype=np.float32)
    logits = np.stack([margins, np.zeros_like(margins)], axis=1)
    labels = np.zeros(len(margins), int)
    loss, grad = crossent.cross_entropy_and_grad(logits, labels, reduction="none")
    book_loss, book_grad = textbook(logits)
    plt.rcParams.update(
        {"font.family": "DejaVu Sans", "font.size": 10, "svg.fonttype": "path", "svg.hashsalt": "crossent"}
    )
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, sharey=True, layout="constrained")
    curves = (("loss (nats)", book_loss, loss), ("gradient at the target, times −1", -book_grad, -grad[:, 0]))
    for axis, (title, book, ours) in zip(axes, curves):
        gone = margins[np.argmax(book <= 0)]
        axis.axvspan(gone, margins[-1], color="#f6e7dc", lw=0)
        axis.plot(margins, np.where(book > 0, book, np.nan), color=ORANGE, lw=3.5, alpha=0.75)
        axis.plot(margins, ours, color=BLUE, lw=1.5)
        axis.set(yscale="log", xlim=(0, 40), ylim=(1e-18, 3), xlabel="margin of the target (nats)")
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.text(
            39.3,
            0.25,
            f"log_softmax: exactly 0\nfrom {gone:.1f} nats on",
            color=ORANGE,
            ha="right",
            va="top",
            fontsize=9,
        )
        axis.grid(color=PALE, lw=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].text(25, 3e-10, "crossent", color=BLUE, ha="left", va="bottom", fontsize=9)
    axes[0].text(6.5, 1e-7, "log_softmax", color=ORANGE, ha="center", va="bottom", fontsize=9)
    figure.savefig(Path(__file__).with_name("collapse.svg"), metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
