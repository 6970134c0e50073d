"""A trained model as ONNX with its preprocessing: raw columns or pixels in, label and probabilities out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.data.columns import Category, Number
from crossent.data.encoder import ImageEncoder, SparseEncoder, TableEncoder
from crossent.data.files import whole_or_nothing
from crossent.data.pipeline import TrainedModel
from crossent.errors import DataError

if TYPE_CHECKING:
    from onnx import ModelProto

    from crossent.estimators.onnx_export import Graph

OUTPUTS = ("label", "probabilities")


def pipeline_to_onnx(model: TrainedModel) -> ModelProto:
    """Return a trained model as ONNX.

    A table's model has one input per column, (n, 1): numbers as double, NaN where missing; categories as strings, empty
    where missing, numbers among them as whole numbers are written. A model of images has the input ``X`` (n, height,
    width) as float. The outputs are ``label`` (n,), as a string, and ``probabilities`` (n, C) in the order of the
    metadata's ``classes``.

    Raises
    ------
    DataError
        A column whose preprocessing or name ONNX cannot have; the message names it.
    ModuleNotFoundError
        Without the package onnx.
    """
    from crossent.estimators.onnx_export import Graph, add_classifier

    graph = Graph()
    if isinstance(model.encoder, ImageEncoder):
        x, inputs = _pixels(graph, model.encoder), {"X": "pixels"}
    elif isinstance(model.encoder, SparseEncoder):
        raise DataError(
            "was trained on a libsvm file, whose sparse rows ONNX's operators cannot take", path=model.source
        )
    else:
        x, inputs = _columns(graph, model.encoder)
    if model.estimator._dtype != np.float32:
        x = graph.cast(x, model.estimator._dtype)
    notes = {"classes": json.dumps(model.classes), "trained_on": model.source, "inputs": json.dumps(inputs)}
    return add_classifier(graph, x, model.estimator, np.array(model.classes, dtype=object), notes)


def export_onnx(model: TrainedModel, path: str | Path) -> None:
    """Write a trained model to an ONNX file, whole or not at all."""
    content = pipeline_to_onnx(model).SerializeToString()
    with whole_or_nothing(path) as temporary:
        temporary.write_bytes(content)


def _pixels(graph: Graph, encoder: ImageEncoder) -> str:
    x = graph.input("X", np.float32, ["n", *encoder.shape])
    flat = graph.node("Flatten", x, axis=1)
    return graph.node("Div", flat, graph.constant(np.float32(encoder.largest)))


def _columns(graph: Graph, encoder: TableEncoder) -> tuple[str, dict[str, str]]:
    features: list[str] = []
    inputs: dict[str, str] = {}
    for column in encoder.columns:
        if column.name in OUTPUTS:
            raise DataError(
                "has the name of an output of the ONNX model: rename it and train again", column=column.name
            )
        # Another kind of column, from a later version, must not be left out in silence.
        part: Any = column
        if isinstance(part, Number):
            features += _number(graph, part)
            inputs[part.name] = "number, NaN where missing"
        elif isinstance(part, Category):
            features += _category(graph, part)
            inputs[part.name] = "category, empty where missing"
        else:
            problem = f"becomes features by {type(part).__name__}, which ONNX export does not have"
            raise DataError(problem, column=part.name)
    return graph.node("Concat", *features, axis=1), inputs


def _number(graph: Graph, column: Number) -> list[str]:
    x = graph.input(column.name, np.float64, ["n", 1])
    mean, std = graph.constant(np.float64(column.mean)), graph.constant(np.float64(column.std))
    missing = graph.node("IsNaN", x)
    filled = graph.node("Where", missing, mean, x)
    standardised = graph.node("Div", graph.node("Sub", filled, mean), std)
    features = [graph.cast(standardised, np.float32)]
    return [*features, graph.cast(missing, np.float32)] if column.marks_missing else features


def _category(graph: Graph, column: Category) -> list[str]:
    if "" in column.levels:
        raise DataError("has the empty text as a category, which stands for a missing one in ONNX", column=column.name)
    x = graph.input(column.name, str, ["n", 1])
    features = []
    if column.levels:
        levels = graph.constant(np.array([column.levels], dtype=object))
        features.append(graph.cast(graph.node("Equal", x, levels), np.float32))
    missing = graph.cast(graph.node("Equal", x, graph.constant(np.array("", dtype=object))), np.float32)
    if column.has_other:
        seen = graph.node("ReduceSum", *features, graph.constant(np.array([1])), keepdims=1)
        unseen = graph.node("Sub", graph.constant(np.float32(1)), seen)
        features.append(graph.node("Sub", unseen, missing))
    return [*features, missing] if column.has_missing else features
