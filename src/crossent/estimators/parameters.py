"""The checks of ``SoftmaxClassifier``'s parameters, made when ``fit`` begins, as scikit-learn has it."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.estimators.exact import check_exact


def check_parameters(model: Any) -> None:
    """Raise the error for the first parameter that cannot be used."""
    if isinstance(model.hidden_layer_sizes, (str, numbers.Number)) or not isinstance(
        model.hidden_layer_sizes, Iterable
    ):
        raise invalid_type("hidden_layer_sizes", model.hidden_layer_sizes, "a sequence of ints, such as (128,)")
    for at, size in enumerate(model.hidden_layer_sizes):
        _check_int(f"hidden_layer_sizes[{at}]", size, least=1)
    if model.alpha != "auto":
        _check_real("alpha", model.alpha, 0, np.inf, or_else="'auto'")
    _check_real("l1_ratio", model.l1_ratio, 0, 1, closed_high=True)
    for name in ("nesterov", "early_stopping", "center", "calibrate", "warm_start", "feature_rates", "distributed"):
        if not isinstance(getattr(model, name), (bool, np.bool_)):
            raise invalid_type(f"{name} = {getattr(model, name)!r}", getattr(model, name), "True or False")
    _check_choice("solver", model.solver, ("sgd", "exact"))
    _check_choice("optimizer", model.optimizer, ("sgd", "adam", "schedule-free"))
    _check_choice("schedule", model.schedule, ("linear", "constant", "cosine"))
    if model.learning_rate != "auto":
        _check_real("learning_rate", model.learning_rate, 0, np.inf, or_else="'auto'", open_low=True)
    _check_real("momentum", model.momentum, 0, 1)
    if model.batch_size != "auto":
        _check_int("batch_size", model.batch_size, least=1, or_else="'auto'")
    if model.max_epochs != "auto":
        _check_int("max_epochs", model.max_epochs, least=1, or_else="'auto'")
    if model.tol is not None:
        _check_real("tol", model.tol, 0, np.inf, or_else="None")
    _check_real("validation_fraction", model.validation_fraction, 0, 1, open_low=True)
    _check_int("n_iter_no_change", model.n_iter_no_change, least=1)
    _check_real("label_smoothing", model.label_smoothing, 0, 1, closed_high=True)
    _check_dropout_and_average(model)
    if model.checkpoint is not None and not isinstance(model.checkpoint, (str, os.PathLike)):
        raise invalid_type("checkpoint", model.checkpoint, "the path of a directory, or None")
    _check_int("n_threads", model.n_threads, least=1)
    if model.dtype is not None:
        _check_dtype(model.dtype)
    for at, callback in enumerate(model.callbacks or ()):
        if not callable(callback):
            raise invalid_type(f"callbacks[{at}]", callback, "a callable that takes a TrainingEvent")
    if model.solver == "exact":
        check_exact(model)


def as_generator(random_state: Any) -> np.random.Generator:
    """Return NumPy's generator for scikit-learn's ``random_state``; None draws its seed from ``numpy.random``."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, numbers.Integral):
        return np.random.default_rng(int(random_state))
    from sklearn.utils import check_random_state

    return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))


def _check_dropout_and_average(model: Any) -> None:
    _check_real("dropout", model.dropout, 0, 1)
    if model.dropout and not len(tuple(model.hidden_layer_sizes)):
        raise invalid_value("dropout", model.dropout, "0 for a linear model, which has no hidden units")
    if not isinstance(model.average, (bool, np.bool_)):
        _check_real("average", model.average, 0, 1, open_low=True, closed_high=True, or_else="a bool")
    if model.average and model.optimizer == "schedule-free":
        raise invalid_value("average", model.average, "False for optimizer='schedule-free', which averages by itself")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise invalid_choice(name, value, choices)


def _check_int(name: str, value: object, *, least: int, or_else: str = "") -> None:
    expected = f"an int of at least {least}" + (f", or {or_else}" if or_else else "")
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise invalid_type(f"{name} = {value!r}", value, expected)
    if value < least:
        raise invalid_value(name, value, expected)


def _check_real(
    name: str,
    value: object,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    closed_high: bool = False,
    or_else: str = "",
) -> None:
    interval = f"{'(' if open_low else '['}{low}, {high}{']' if closed_high else ')'}"
    expected = f"a number in {interval}" + (f", or {or_else}" if or_else else "")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise invalid_type(f"{name} = {value!r}", value, expected)
    number = float(value)
    above = number > low or (number == low and not open_low)
    below = number < high or (number == high and closed_high)
    if not (above and below):
        raise invalid_value(name, value, expected)


def _check_dtype(dtype: Any) -> None:
    choices = ("float32", "float64", None)
    try:
        name = np.dtype(dtype).name
    except TypeError:
        raise invalid_choice("dtype", dtype, choices) from None
    if name not in choices:
        raise invalid_choice("dtype", dtype, choices)
