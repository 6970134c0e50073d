"""The most confident mistakes, shown as what they are: the images, or the values of the rows."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossent.data.dataset import Dataset
from crossent.report.evaluation import Evaluation
from crossent.report.numbers import percent

if TYPE_CHECKING:
    import scipy.sparse as sp

_MOST_VALUES = 16


def mistakes_section(evaluation: Evaluation, dataset: Dataset, n: int = 10) -> str:
    """Return the section of the page."""
    rows = evaluation.confident_mistakes(n)
    if len(rows) == 0:
        body = '<p class="hint">There is none: every row is predicted right.</p>'
    else:
        kind = "images" if isinstance(dataset.features, np.ndarray) else "rows"
        items = "".join(f"<li>{_item(evaluation, dataset, int(row))}</li>" for row in rows)
        body = (
            '<p class="hint">Wrong, and surest of it: look here for wrong labels, for classes that overlap '
            f'and for what the features do not say.</p><ol class="mistakes {kind}">{items}</ol>'
        )
    return f"<section><h2>The most confident mistakes</h2>{body}</section>"


def _item(evaluation: Evaluation, dataset: Dataset, row: int) -> str:
    truth, prediction = evaluation.labels[row], evaluation.predictions[row]
    verdict = (
        f'<div class="verdict"><b>{escape(evaluation.classes[truth])}</b> taken for '
        f'<b class="wrong">{escape(evaluation.classes[prediction])}</b></div>'
    )
    odds = (
        f'<div class="odds">{percent(float(evaluation.confidence[row]))} sure, the truth got '
        f"{percent(float(evaluation.probs[row, truth]))} ({float(evaluation.losses[row]):.2f} nats), "
        f"row\N{NO-BREAK SPACE}{dataset.rows[row]}</div>"
    )
    if isinstance(dataset.features, pl.DataFrame):
        return verdict + odds + _values(dataset.features.row(row, named=True))
    if not isinstance(dataset.features, np.ndarray):
        return verdict + odds + _values(_entries(dataset.features, row))
    name = evaluation.classes[truth]
    return _image(dataset.features[row], f"row {dataset.rows[row]}, {name}") + verdict + odds


def _entries(matrix: sp.csr_matrix, row: int) -> dict[str, float]:
    """Return the values of a sparse row by index, the largest first."""
    here = slice(matrix.indptr[row], matrix.indptr[row + 1])
    entries = sorted(zip(matrix.indices[here], matrix.data[here], strict=True), key=lambda entry: -abs(entry[1]))
    return {str(index): float(value) for index, value in entries}


def _image(pixels: NDArray[Any], description: str) -> str:
    from matplotlib.image import imsave

    png = io.BytesIO()
    imsave(png, np.asarray(pixels, np.float64), cmap="gray", format="png")
    height, width = pixels.shape
    uri = base64.b64encode(png.getvalue()).decode()
    return (
        f'<img src="data:image/png;base64,{uri}" width="{width}" height="{height}" '
        f'style="--ratio:{width}/{height}" alt="{escape(description)}">'
    )


def _values(values: dict[str, Any]) -> str:
    items = "".join(
        f'<div><dt title="{name}">{name}</dt><dd title="{value}">{value}</dd></div>'
        for name, value in [(escape(name), escape(_value(value))) for name, value in values.items()][:_MOST_VALUES]
    )
    more = len(values) - _MOST_VALUES
    rest = f'<div class="odds">and {more} more columns</div>' if more > 0 else ""
    return f'<dl class="values">{items}</dl>{rest}'


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()  # as a CSV writes it
    return f"{value:.6g}" if isinstance(value, float) else str(value)
