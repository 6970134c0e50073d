"""A fitted classifier as a directory: tensors as safetensors, the rest as JSON; nothing in it can run code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as dump_tensors

from crossent.errors import DataError, invalid_type, invalid_value
from crossent.estimators.parameters import check_parameters
from crossent.estimators.prediction import check_is_fitted
from crossent.estimators.softmax_model import SoftmaxModel
from crossent.replace_directory import replace_directory
from crossent.stored import MISFITS, alike, parse_tensors, read_bytes, read_json, sha256

if TYPE_CHECKING:
    from crossent.estimators.softmax_classifier import SoftmaxClassifier

Array = npt.NDArray[Any]
WEIGHTS, MODEL = "weights.safetensors", "model.json"
FORMAT, FORMAT_VERSION, ESTIMATOR = "crossent-model", 1, "SoftmaxClassifier"
# What a training run that was cut short leaves in the directory of its model.
UNFINISHED = "unfinished"
MOST_BYTES_OF_CLASSES = 2**28
RECORD = (
    "loss_curve_",
    "validation_scores_",
    "validation_accuracies_",
    "n_iter_",
    "best_iter_",
    "learning_rate_",
    "objective_gap_",
    "temperature_",
)


@dataclass(frozen=True)
class LoadedModel:
    """What ``load_model`` found: the classifier, and what its owner had saved beside it."""

    estimator: SoftmaxClassifier
    extra_tensors: dict[str, Array] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


def save_model(
    directory: str | Path,
    estimator: SoftmaxModel,
    *,
    extra_tensors: Mapping[str, Array] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a fitted classifier to a directory: ``weights.safetensors`` and ``model.json``.

    The directory appears whole or not at all. One that holds a model is replaced; another is left alone.

    Parameters
    ----------
    directory : path-like
    estimator : SoftmaxClassifier
        Its callbacks, its checkpoint and a ``random_state`` that is no int are not kept.
    extra_tensors : mapping of str to array, optional
    extra : mapping, optional
        Whatever JSON can hold.

    Raises
    ------
    FileExistsError
        If the directory is there and is no model.
    TypeError
        If the classes are not all str, int, float or bool, or ``extra`` does not fit into JSON.
    ValueError
        If a weight is not finite.
    """
    check_is_fitted(estimator)
    if not all(np.isfinite(array).all() for array in (*estimator.coefs_, *estimator.intercepts_)):
        raise ValueError("a weight of the classifier is not finite: expected a fit that did not diverge")
    tensors = {f"coefs.{at}": array for at, array in enumerate(estimator.coefs_)}
    tensors |= {f"intercepts.{at}": array for at, array in enumerate(estimator.intercepts_)}
    tensors |= {f"extra.{name}": np.asarray(array) for name, array in (extra_tensors or {}).items()}
    weights = dump_tensors({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    content = {
        "estimator": ESTIMATOR if type(estimator) is SoftmaxModel else type(estimator).__name__,
        "parameters": _parameters(estimator),
        "classes": _classes_out(estimator.classes_),
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": getattr(estimator, "feature_names_in_", np.array([])).tolist() or None,
        "shapes": {name: list(array.shape) for name, array in tensors.items()},
        "record": {name: getattr(estimator, name) for name in RECORD},
        "extra": dict(extra or {}),
    }
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sha256": {WEIGHTS: sha256(weights), "content": sha256(_canonical(content))},
        "content": content,
    }
    model = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()
    replace_directory(Path(directory), {WEIGHTS: weights, MODEL: model}, may_replace=_is_model)


def load_model(directory: str | Path) -> LoadedModel:
    """Read what ``save_model`` wrote; its predictions are those of the saved classifier, to the bit.

    Raises
    ------
    FileNotFoundError
        If there is no such directory.
    DataError
        If a file in it is missing, cut off, altered, or of a newer format; the message says which.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such model directory")
    content, weights_sha256 = _read_document(folder / MODEL)
    tensors = _read_tensors(folder / WEIGHTS, weights_sha256)
    try:
        return _rebuild(content, tensors)
    except MISFITS as problem:
        raise DataError(f"does not describe a model ({problem!r})", path=folder / MODEL) from problem


def _read_document(path: Path) -> tuple[dict[str, Any], str]:
    document = read_json(path)
    if document.get("format") != FORMAT:
        raise DataError(f'is no model: expected "format": "{FORMAT}"', path=path)
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(f"has format version {version!r}: this crossent reads {FORMAT_VERSION}", path=path)
    try:
        content, sums = document["content"], document["sha256"]
        intact = sha256(_canonical(content)) == sums["content"]
        weights_sha256 = str(sums[WEIGHTS])
    except MISFITS as problem:
        raise DataError(f"lacks a checksum of its content ({problem})", path=path) from problem
    if not intact:
        raise DataError("was altered after it was written: its sha256 differs", path=path)
    return content, weights_sha256


def _read_tensors(path: Path, checksum: str) -> dict[str, Array]:
    data = read_bytes(path)
    if sha256(data) != checksum:
        raise DataError(f"was cut off or altered, or belongs to another model: sha256 differs from {MODEL}", path=path)
    return parse_tensors(data, path)


def _rebuild(content: Mapping[str, Any], tensors: Mapping[str, Array]) -> LoadedModel:
    from crossent.estimators.softmax_classifier import SoftmaxClassifier

    if content["estimator"] != ESTIMATOR:
        raise invalid_value("estimator", content["estimator"], ESTIMATOR)
    parameters = dict(content["parameters"])
    parameters["hidden_layer_sizes"] = tuple(parameters["hidden_layer_sizes"])
    if isinstance(parameters["class_weight"], list):
        parameters["class_weight"] = dict(parameters["class_weight"])
    if parameters["dtype"] not in ("float32", "float64", None):
        raise invalid_value("dtype", parameters["dtype"], "float32, float64 or null")
    model = SoftmaxClassifier(**parameters)
    check_parameters(model)
    n_layers = len(parameters["hidden_layer_sizes"]) + 1
    weights = [tensors[f"coefs.{at}"] for at in range(n_layers)]
    biases = [tensors[f"intercepts.{at}"] for at in range(n_layers)]
    for array in (*weights, *biases):
        if array.dtype not in (np.float32, np.float64) or not np.isfinite(array).all():
            raise ValueError(f"a weight is {array.dtype} or not finite: expected finite float32 or float64")
    model._restore(
        weights,
        biases,
        classes=_classes_in(content["classes"]),
        feature_names=_names_in(content["feature_names_in"]),
        record=_record_in(content["record"]),
    )
    extra_tensors = {name.removeprefix("extra."): array for name, array in tensors.items() if name.startswith("extra.")}
    return LoadedModel(model, extra_tensors, dict(content["extra"]))


def _parameters(estimator: SoftmaxModel) -> dict[str, Any]:
    parameters = estimator.parameters()
    for name in ("callbacks", "checkpoint"):
        del parameters[name]
    parameters["hidden_layer_sizes"] = [int(size) for size in parameters["hidden_layer_sizes"]]
    if parameters["dtype"] is not None:
        parameters["dtype"] = np.dtype(parameters["dtype"]).name
    if isinstance(parameters["class_weight"], Mapping):
        # Pairs: an object's keys would all turn into strings.
        parameters["class_weight"] = [[_plain(k), _plain(v)] for k, v in parameters["class_weight"].items()]
    if not isinstance(parameters["random_state"], (int, np.integer)):
        parameters["random_state"] = None
    return {name: _plain(value) for name, value in parameters.items()}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _classes_out(classes: Array) -> dict[str, Any]:
    values = classes.tolist()
    for value in values:
        if not isinstance(value, (str, int, float, bool)):
            raise invalid_type(f"class {value!r}", value, "a str, int, float or bool")
    return {"dtype": "object" if classes.dtype == object else classes.dtype.str, "values": values}


def _names_in(names: Any) -> list[str] | None:
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise invalid_value("feature_names_in", str(names)[:60], "a list of names, or null")
    return names


def _record_in(record: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: record[name] for name in RECORD}
    for name, value in found.items():
        if not all(
            alike(one, None) and not isinstance(one, str) for one in (value if isinstance(value, list) else [value])
        ):
            raise invalid_value(name, str(value)[:60], "a number, a list of numbers, or null")
    # Logits are divided by it, in float32 too.
    if not 1e-38 < found["temperature_"] < 1e38:
        raise invalid_value("temperature_", found["temperature_"], "a number from 1e-38 to 1e38")
    return found


def _dtype_in(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not re.fullmatch(r"object|[<>|=][biufU][1-9]\d{0,8}", name):
        raise invalid_value("the type of the classes", name, "object, text, bool, int or float")
    return np.dtype(name)


def _classes_in(classes: Mapping[str, Any]) -> Array:
    values, dtype = classes["values"], _dtype_in(classes["dtype"])
    if not isinstance(values, list) or not all(isinstance(value, (str, int, float, bool)) for value in values):
        raise invalid_value("classes", str(values)[:60], "a list of text, numbers or truths")
    # A short name of a type may ask for any amount of memory.
    if dtype.itemsize * len(values) > MOST_BYTES_OF_CLASSES:
        raise invalid_value("the type of the classes", str(dtype), f"at most {MOST_BYTES_OF_CLASSES} bytes in all")
    found = np.array(values, dtype=dtype)
    if found.tolist() != values or len(set(values)) != len(values):
        raise invalid_value("classes", str(values)[:60], f"different values of type {dtype}")
    return found


def _is_model(directory: Path) -> bool:
    if [path.name for path in directory.iterdir()] == [UNFINISHED]:
        return True
    try:
        return bool(read_json(directory / MODEL).get("format") == FORMAT)
    except (OSError, DataError):
        # A damaged model is one all the same where both files are there.
        return (directory / MODEL).is_file() and (directory / WEIGHTS).is_file()


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False).encode()
