"""Fitted scikit-learn classifiers as a ``SoftmaxClassifier`` with the same predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import check_is_fitted

from crossent.errors import invalid_type, invalid_value

Array = npt.NDArray[Any]
Layers = tuple[list[Array], list[Array]]


def layers_of(model: Any) -> Layers:
    """Return the layers of a fitted ``LogisticRegression`` or ``MLPClassifier`` that end in a logit per class.

    One score s for two classes becomes the logits −s/2 and s/2, of which the softmax is the same.

    Raises
    ------
    TypeError
        Another kind of model.
    ValueError
        A model that is no softmax network of ReLU layers.
    NotFittedError
    """
    if not isinstance(model, (LogisticRegression, MLPClassifier)):
        raise invalid_type("model", model, "a fitted LogisticRegression or MLPClassifier")
    check_is_fitted(model)
    weights, biases = _network(model) if isinstance(model, MLPClassifier) else _linear(model)
    if weights[-1].shape[1] == 1:
        weights[-1] = np.hstack([-weights[-1] / 2, weights[-1] / 2])
        biases[-1] = np.concatenate([-biases[-1] / 2, biases[-1] / 2])
    return [np.array(weight, order="C") for weight in weights], [np.array(bias) for bias in biases]


def record_of(model: Any) -> dict[str, Any]:
    """Return what the model knows of its training, under ``SoftmaxClassifier``'s names."""
    n_iter = int(np.max(model.n_iter_))
    return {
        "loss_curve_": [float(loss) for loss in getattr(model, "loss_curve_", [])],
        "validation_scores_": [],
        # MLPClassifier's scores are accuracies.
        "validation_accuracies_": [float(score) for score in getattr(model, "validation_scores_", None) or []],
        "n_iter_": n_iter,
        "best_iter_": n_iter,
        "learning_rate_": 0.0,
        "objective_gap_": None,
        "temperature_": 1.0,
    }


def _linear(model: Any) -> Layers:
    # Of scikit-learn before 1.8, where a class each could have its own logistic regression.
    kind = getattr(model, "multi_class", "auto")
    if len(model.classes_) > 2 and (
        "ovr" in (kind, getattr(model, "multi_class_", kind)) or model.solver == "liblinear"
    ):
        raise invalid_value("multi_class", kind, "a multinomial model: one-vs-rest probabilities are no softmax")
    weight, bias = model.coef_.T, np.broadcast_to(model.intercept_, model.coef_.shape[:1])
    if weight.shape[1] == 1 and kind == "multinomial":
        # Such a model of two classes has the logits −s and s.
        weight, bias = 2 * weight, 2 * bias
    return [weight], [bias]


def _network(model: Any) -> Layers:
    if len(model.coefs_) > 1 and model.activation != "relu":
        raise invalid_value("activation", model.activation, "'relu', the only one that SoftmaxClassifier has")
    if model.out_activation_ == "logistic" and model.n_outputs_ > 1:
        raise invalid_value("n_outputs_", model.n_outputs_, "one label per row: this model has several (multilabel)")
    return list(model.coefs_), list(model.intercepts_)
