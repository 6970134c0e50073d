"""The report's figures: matplotlib drawings as inline SVG whose colours are the page's own."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from crossent.report.evaluation import N_BINS, Evaluation, Reliability

# Stand-ins that no drawing uses by itself: in the SVG each becomes a CSS variable, so that one drawing suits
# both the light and the dark page.
_INK, _MUTED, _LINE, _ACCENT, _SECOND = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _LINE: "--line", _ACCENT: "--accent", _SECOND: "--second"}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "crossent",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
_WIDTH, _HEIGHT = 5.6, 4.7


def learning_curve(
    loss: list[float], validation_loss: list[float], validation_accuracy: list[float], best_epoch: int | None
) -> str:
    """Draw the loss (and accuracy, where there is a validation part) of each epoch."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _panels(2 if validation_accuracy else 1, (2, 1))
        epochs = np.arange(1, len(loss) + 1)
        marker = "o" if len(loss) < 2 else None
        axes[0].plot(epochs, loss, color=_MUTED, marker=marker, label="training")
        axes[0].set_ylabel("loss (nats)")
        losses = [*loss, *validation_loss]
        if 0 < 30 * min(losses) < max(losses):
            axes[0].set_yscale("log")
        if validation_loss:
            axes[0].plot(
                epochs[: len(validation_loss)],
                validation_loss,
                color=_ACCENT,
                marker=marker,
                label="validation",
            )
        if validation_accuracy:
            axes[1].plot(epochs[: len(validation_accuracy)], validation_accuracy, color=_ACCENT, marker=marker)
            axes[1].yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
            axes[1].set_ylabel("accuracy")
        if best_epoch is not None and 1 <= best_epoch <= len(validation_loss):
            for axis, values in zip(axes, (validation_loss, validation_accuracy)):
                if values:
                    axis.plot(best_epoch, values[best_epoch - 1], "o", color=_ACCENT, markersize=6, label="kept")
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].legend(frameon=False, labelcolor=_INK, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
        return _svg(figure, "Loss and accuracy by epoch", "curve")


def reliability_diagram(evaluation: Evaluation) -> str:
    """Draw how often predictions of each confidence are right, and how many there are."""
    bins = evaluation.reliability
    with matplotlib.rc_context(_STYLE):
        figure, (top, bottom) = _panels(2, (2, 1))
        _accuracy_by_confidence(top, bins)
        _rows_by_confidence(bottom, bins)
        bottom.set_xlabel("confidence: probability of the predicted class")
        bottom.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
        start = np.flatnonzero(bins.count)[0] / N_BINS
        bottom.set_xlim(start, 1.0)
        return _svg(figure, "Accuracy and number of rows by confidence", "reliability")


def confusion_image(confusion: NDArray[np.int64]) -> str:
    """Draw a confusion matrix too large to write out: the diagonal is right, mistakes lie beside it."""
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    pixels = np.zeros((*share.shape, 4))
    pixels[..., :3] = matplotlib.colors.to_rgb("#e0601f")
    np.einsum("iij->ij", pixels)[:, :3] = matplotlib.colors.to_rgb("#3f7fe0")
    pixels[..., 3] = np.sqrt(share)  # the square root lets a share of 1 % still show
    with matplotlib.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=(_WIDTH, _WIDTH), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(pixels, interpolation="nearest")
        axes.set_xlabel("predicted class, by number")
        axes.set_ylabel("true class, by number")
        return _svg(figure, "Confusion matrix", "confusion")


def _panels(n: int, ratios: tuple[int, ...]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots(n, 1, sharex=True, squeeze=False, height_ratios=ratios[:n])
    return figure, list(axes[:, 0])


def _accuracy_by_confidence(axes: Axes, bins: Reliability) -> None:
    filled = bins.count > 0
    confidence, accuracy = bins.confidence[filled], bins.accuracy[filled]
    low, high = _wilson_interval(accuracy, bins.count[filled])
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as sure as right")
    axes.vlines(confidence, low, high, color=_ACCENT, linewidth=1.4, alpha=0.45)
    axes.plot(confidence, accuracy, color=_ACCENT, marker="o", linestyle="none", label="the model, 95 % interval")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    axes.set_ylabel("accuracy")
    axes.legend(frameon=False, labelcolor=_INK, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))


def _rows_by_confidence(axes: Axes, bins: Reliability) -> None:
    centers = (np.arange(N_BINS) + 0.5) / N_BINS
    bars = axes.bar(centers, bins.count, width=0.9 / N_BINS, color=_ACCENT, alpha=0.4)
    labels = [_short(count) if count else "" for count in bins.count]
    axes.bar_label(bars, labels, padding=2, fontsize=7, color=_MUTED)
    axes.set_ylim(0, 1.2 * bins.count.max())
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("rows")


def _wilson_interval(
    share: NDArray[np.float64], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of a proportion (Wilson, "Probable inference", 1927)."""
    z = 1.96
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return center - half, center + half


def _short(count: float) -> str:
    if count < 1000:
        return f"{count:.0f}"
    thousands = count / 1000
    return f"{thousands:.0f}k" if thousands >= 10 or thousands == int(thousands) else f"{thousands:.1f}k"


def _svg(figure: Figure, title: str, prefix: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Namespaces are implied in HTML; without them the page holds no address at all.
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    # Each drawing names its parts alike; on one page the names must differ.
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    svg = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 var(--sans)", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1).strip()


_NO_METADATA: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
