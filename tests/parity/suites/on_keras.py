"""Keras's tests of its loss classes, with crossent.cross_entropy(convention="keras") in their place on logits."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import numpy as np
from keras.src import losses
from recorder import counted

import crossent

REDUCTIONS = {"sum_over_batch_size": "mean", "mean": "mean", "sum": "sum", "none": "none", None: "none"}
cross_entropy = counted(crossent.cross_entropy)


def _with_logits(loss_class: Any) -> Any:
    theirs = loss_class.__call__

    def call(self: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        options = {"label_smoothing": 0.0, "axis": -1, "ignore_class": None} | self._fn_kwargs
        # Probabilities, which Keras clips, and a mean by sample weights stay its own.
        if not options["from_logits"] or self.reduction not in REDUCTIONS:
            return theirs(self, y_true, y_pred, sample_weight)
        logits, target, axis = np.asarray(y_pred, np.float32), np.asarray(y_true), options["axis"]
        rows = tuple(np.delete(logits.shape, axis))
        if loss_class is losses.SparseCategoricalCrossentropy:
            target = target.astype(np.int64).reshape(rows)
        else:
            target = target.astype(np.float32)
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight, np.float64)
            if sample_weight.ndim > len(rows):
                sample_weight = sample_weight.squeeze(-1)
            sample_weight = np.broadcast_to(sample_weight, rows)
        ignored = options["ignore_class"]
        return cross_entropy(
            logits,
            target,
            sample_weight=sample_weight,
            label_smoothing=options["label_smoothing"],
            ignore_index=-100 if ignored is None else ignored,
            reduction=REDUCTIONS[self.reduction],
            axis=axis,
            convention="keras",
        )

    return call


def pytest_configure() -> None:
    for loss_class in (losses.CategoricalCrossentropy, losses.SparseCategoricalCrossentropy):
        loss_class.__call__ = _with_logits(loss_class)
