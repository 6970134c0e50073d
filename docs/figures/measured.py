"""Draw what the benchmarks measured, from their CSV files in benchmarks/results.

    python docs/figures/measured.py     writes margin_errors.svg, head_memory.svg and time_to_loss.svg beside itself

A picture whose results are not there is left as it is.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from results import FOLDER, Row, read

OUT = Path(__file__).parent
INK, GRID = "#222222", "#e9ecef"
OURS = "#1864ab"
COLORS = ("#d9480f", "#2b8a3e", "#862e9c", "#f08c00", "#5c3c1e", "#0b7285", "#868e96", "#c2255c")
DASHES = ((0, (4, 1.5)), "solid", (0, (1, 1.5)), (0, (6, 1, 1, 1)))
RACES = {
    "linear": "Fashion-MNIST, linear",
    "network": "Fashion-MNIST, 128 hidden units",
    "text": "language of a string",
    "soft": "language, soft labels",
    "regions": "3,789 regions of place names",
}


def lines_of(rows: list[Row], by: str, x: str, y: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line, those of crossent first."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: float(row[x])):
        found.setdefault(str(row[by]), []).append((float(row[x]), float(row[y])))
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith("crossent")))


def draw(axes: Axes, lines: dict[str, list[tuple[float, float]]], **style: object) -> None:
    for place, (name, points) in enumerate(lines.items()):
        color = OURS if name == "crossent" else COLORS[(place - 1) % len(COLORS)]
        dash = "solid" if name == "crossent" else DASHES[place % len(DASHES)]
        width = 2.4 if name == "crossent" else 1.5
        axes.plot(*zip(*points), color=color, linestyle=dash, linewidth=width, label=name, **style)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def margin_errors(folder: Path = FOLDER) -> Figure | None:
    """Errors in ulp against the margin: of the loss, and of the gradient's entry at the label."""
    rows = read("margin_errors", folder)
    if not rows:
        return None
    figure = Figure(figsize=(9.6, 4.2), layout="constrained", facecolor="white")
    titles = {"loss_ulp": "loss", "target_ulp": "gradient at the label"}
    for axes, (column, title) in zip(figure.subplots(1, 2, sharey=True), titles.items()):
        # A smaller error than a tenth of an ulp is drawn there.
        shown = [{**row, column: max(float(row[column]), 0.1)} for row in rows]
        draw(axes, lines_of(shown, "program", "margin", column))
        axes.set_yscale("log")
        axes.axhline(2**24, color="#adb5bd", linewidth=0.8, linestyle=(0, (2, 3)))
        axes.annotate("no right digit", (88, 2**24), (0, 4), textcoords="offset points", ha="right", color="#868e96")
        axes.set_title(f"{title}, float32", fontsize=11.5, loc="left", color=INK)
        axes.set_xlabel("margin of the true class (nats)", color=INK)
    figure.axes[0].set_ylabel("worst error (ulp)", color=INK)
    figure.axes[0].legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.5))
    return figure


def head_memory(folder: Path = FOLDER) -> Figure | None:
    """What a head holds against the number of classes."""
    rows = read("head_memory", folder)
    if not rows:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained", facecolor="white")
    axes = figure.subplots()
    lines = lines_of(rows, "program", "classes", "mib")
    logits = lines_of([row for row in rows if row["program"] == "crossent"], "program", "classes", "logits_mib")
    lines["the logits alone"] = logits["crossent"]
    names = {"crossent": "crossent", "eager": "PyTorch, unfused", "chunked": "PyTorch, chunked"}
    draw(axes, {names.get(name, name): points for name, points in lines.items()}, marker="o", markersize=3.5)
    axes.set(xscale="log", yscale="log")
    axes.axhline(64, color="#adb5bd", linewidth=0.8, linestyle=(0, (2, 3)))
    axes.annotate("max_memory", (1000, 64), (0, 4), textcoords="offset points", color="#868e96")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    axes.set_xlabel("classes", color=INK)
    axes.set_ylabel("MiB beyond x, weight and their gradients", color=INK)
    axes.set_title(f"one pass of a head, {rows[0]['rows']:,} rows, float32", fontsize=11.5, loc="left", color=INK)
    axes.legend(frameon=False)
    return figure


def time_to_loss(folder: Path = FOLDER) -> Figure | None:
    """Test log-loss against CPU seconds, a picture per race."""
    rows = [row for row in read("training_curves", folder) if row["threads"] == 1]
    races = [race for race in RACES if any(row["race"] == race for row in rows)]
    if not races:
        return None
    columns = min(2, len(races))
    lines = -(-len(races) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * lines), layout="constrained", facecolor="white")
    places = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, race in zip(places, races):
        of_race = [row for row in rows if row["race"] == race]
        best = min(float(row["log_loss"]) for row in of_race)
        draw(axes, lines_of(of_race, "method", "cpu_s", "log_loss"), marker="o", markersize=3.5)
        axes.set_xscale("log")
        worst = max(float(row["log_loss"]) for row in of_race)
        axes.set_ylim(0.99 * best, min(1.02 * worst, 1.35 * best))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.set_title(RACES[race], fontsize=11.5, loc="left", color=INK)
        axes.set_xlabel("CPU seconds of the fit, one thread", color=INK)
        axes.legend(frameon=False, fontsize=8.5)
    for axes in places[::columns][:lines]:
        axes.set_ylabel("test log-loss (nats)", color=INK)
    for axes in places[len(races) :]:
        axes.set_visible(False)
    return figure


FIGURES: dict[str, tuple[str, Callable[[Path], Figure | None]]] = {
    "margin_errors": ("margin_errors", margin_errors),
    "head_memory": ("head_memory", head_memory),
    "time_to_loss": ("training_curves", time_to_loss),
}


def digest(name: str, folder: Path = FOLDER) -> str:
    """Return what a picture says of the results that it was drawn from."""
    path = folder / f"{FIGURES[name][0]}.csv"
    return f"{path.name} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def svg(name: str, to: Path, folder: Path = FOLDER) -> bool:
    """Write a picture as SVG, the same bytes for the same results; return whether there are results."""
    with mpl.rc_context({"svg.hashsalt": "crossent", "font.size": 10, "axes.edgecolor": "#868e96"}):
        figure = FIGURES[name][1](folder)
        if figure is None:
            return False
        figure.savefig(to / f"{name}.svg", metadata={"Date": None, "Description": digest(name, folder)})
    return True


def main() -> None:
    for name in FIGURES:
        print(f"{name}.svg: {'written' if svg(name, OUT) else 'no results'}")


if __name__ == "__main__":
    main()
