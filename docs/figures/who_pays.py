"""Draw a probability that rises, who pays for it, and the derivative of the loss along each way.

    python docs/figures/who_pays.py     writes docs/figures/who_pays.svg

The true class is dog. From the prediction q, cat rises by RISE and leaves the plane Σq = 1; each rule of payment leads
back to another point of it. The numbers are crossent's.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import crossent

OUT = Path(__file__).with_suffix(".svg")
CLASSES = ("dog", "cat", "bird")
Q = np.array([0.5, 0.15, 0.35])
CAT, RISE = 1, 0.33
INK, PALE, LINE = "#222222", "#f1f3f5", "#adb5bd"
PAYERS = {
    "dog": (np.array([1.0, 0, 0]), "#d9480f"),
    "in proportion": (Q, "#2b8a3e"),
    "everyone": (np.full(3, 1 / 3), "#7048e8"),
    "bird": (np.array([0, 0, 1.0]), "#1864ab"),
}
ACROSS = np.array([0, -1, 1]) / np.sqrt(2)
AWAY = np.array([2, -1, -1]) / np.sqrt(6)
UP = np.array([1, 1, 1]) / np.sqrt(3)


def flat(point: np.ndarray) -> np.ndarray:
    """The triangle from above."""
    return np.array([point @ ACROSS, point @ AWAY])


def tilted(point: np.ndarray) -> np.ndarray:
    """The triangle from the side, and turned a little, so that what leaves it is seen above it."""
    turn, height = np.radians(13), np.radians(27)
    across, away = point @ ACROSS, point @ AWAY
    right, back = across * np.cos(turn) - away * np.sin(turn), across * np.sin(turn) + away * np.cos(turn)
    return np.array([right, back * np.sin(height) + (point @ UP - UP[0]) * np.cos(height)])


def triangle(axes: Axes, view) -> None:
    corners = [view(corner) for corner in np.eye(3)]
    axes.fill(*np.transpose(corners), facecolor=PALE, edgecolor=INK, linewidth=1.2, zorder=0)
    for name, corner, (dx, dy) in zip(CLASSES, corners, ((0, 9), (-8, -14), (8, -14))):
        axes.annotate(name, corner, (dx, dy), textcoords="offset points", ha="center", color=INK, fontweight="bold")
    for q_dog in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9):
        ends = np.array([view(np.array([q_dog, 1 - q_dog, 0])), view(np.array([q_dog, 0, 1 - q_dog]))])
        axes.plot(*ends.T, color=LINE, linewidth=0.8, zorder=1)
        if view is flat:
            loss = crossent.differential([q_dog, 1 - q_dog, 0], 0).loss
            axes.annotate(f"{loss:.2f}", ends[1], (5, -3), textcoords="offset points", color="#868e96", fontsize=8.5)
    axes.margins(0.12)
    axes.set_aspect("equal")
    axes.set_axis_off()


def arrow(axes: Axes, start: np.ndarray, end: np.ndarray, color: str, **style) -> None:
    shape = {"arrowstyle": "-|>", "color": color, "linewidth": 2, "shrinkA": 0, "shrinkB": 0, **style}
    axes.annotate("", end, start, arrowprops=shape, zorder=3)


def from_above(axes: Axes) -> None:
    triangle(axes, flat)
    for weights, color in PAYERS.values():
        arrow(axes, flat(Q), flat(Q + RISE * (np.eye(3)[CAT] - weights)), color)
    point(axes, flat(Q), (8, 3))
    axes.set_title("along the triangle", fontsize=11.5, color=INK)


def from_the_side(axes: Axes) -> None:
    triangle(axes, tilted)
    risen = Q + RISE * np.eye(3)[CAT]
    for weights, color in PAYERS.values():
        arrow(axes, tilted(risen), tilted(risen - RISE * weights), color, linewidth=1.6, linestyle=(0, (3, 1.5)))
    arrow(axes, tilted(Q), tilted(risen), INK)
    point(axes, tilted(Q), (9, -4))
    axes.set_title("from the side: cat rises off the triangle, then somebody pays", fontsize=11.5, color=INK)


def point(axes: Axes, place: np.ndarray, offset: tuple[int, int]) -> None:
    axes.plot(*place, "o", color=INK, markersize=6, zorder=4)
    axes.annotate("q", place, offset, textcoords="offset points", color=INK, fontsize=12, style="italic")


def slope(value: float) -> str:
    number = str(Fraction(value).limit_denominator(100))
    return f"+{number}" if value > 0 else number


@mpl.rc_context({"svg.hashsalt": "crossent", "font.size": 10.5})
def main() -> None:
    d = crossent.differential(Q, "dog", classes=CLASSES)
    slopes = {name: float(d.grad(name)[CAT]) for name in ("nobody", *PAYERS)}
    figure = Figure(figsize=(9.6, 4.5), layout="constrained", facecolor="white")
    above, side = figure.subplots(1, 2, width_ratios=(1, 1.15))
    from_above(above)
    from_the_side(side)
    colors = {"nobody": INK, **{name: color for name, (_, color) in PAYERS.items()}}
    key = [
        Line2D([], [], color=color, linewidth=2.5, label=f"{name} {slope(slopes[name])}")
        for name, color in colors.items()
    ]
    title = "who pays as cat rises, and the derivative of the loss (true class: dog)"
    figure.legend(handles=key, loc="outside lower center", ncols=5, frameon=False, title=title, fontsize=11)
    figure.savefig(OUT, metadata={"Date": None})
    print(f"{OUT.name}: " + ", ".join(f"{name} {value:+.4g}" for name, value in slopes.items()))


if __name__ == "__main__":
    main()
