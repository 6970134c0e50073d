"""scikit-learn estimators and their files; each is loaded when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossent.estimators.loss_curve import LossCurveDisplay
    from crossent.estimators.model_files import LoadedModel, load_model, save_model
    from crossent.estimators.softmax_classifier import SoftmaxClassifier

_HOMES = {
    "LoadedModel": "model_files",
    "LossCurveDisplay": "loss_curve",
    "SoftmaxClassifier": "softmax_classifier",
    "load_model": "model_files",
    "save_model": "model_files",
}

__all__ = ["LoadedModel", "LossCurveDisplay", "SoftmaxClassifier", "load_model", "save_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'crossent.estimators' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"crossent.estimators.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
