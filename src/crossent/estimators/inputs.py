"""What ``fit`` is given, checked and put as the engine takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crossent.errors import invalid_type
from crossent.estimators.features import as_rows, check_finite, engine_dtype
from crossent.estimators.truth import class_weights, read_truth
from crossent.estimators.weights import check_sample_weight
from crossent.training import Examples

Array = npt.NDArray[Any]


class InputsMixin:
    """Rows, truth and weights of a ``SoftmaxClassifier``."""

    classes_: Array
    _dtype: np.dtype[Any]

    def _features(self: Any, X: Any, *, reset: bool, argument: str = "X", least_rows: int = 1) -> Any:
        x = self._checked(X, reset=reset, least_rows=least_rows)
        check_finite(x, getattr(self, "feature_names_in_", None), argument)
        if reset:
            self._dtype = engine_dtype(x.dtype) if self.dtype is None else np.dtype(self.dtype)
        return as_rows(x, self._dtype)

    def _checked(self: Any, X: Any, *, reset: bool, least_rows: int) -> Any:
        """Return rows of numbers with as many features as before, unless they are to be the first."""
        if reset:
            self.n_features_in_ = X.shape[1]
        return X

    def _examples(
        self: Any, x: Any, y: Any, sample_weight: Any, classes: Any, *, weights: Array | None = None
    ) -> Examples:
        truth = read_truth(y, x.shape[0], self._dtype, classes=classes)
        # A batch may be without weight where others are not.
        weight = None
        if sample_weight is not None:
            weight = check_sample_weight(sample_weight, x.shape[0], may_be_zero=weights is not None)
        if weights is None:
            weights = class_weights(self.class_weight, truth.classes, truth.class_mass(weight))
        self.classes_ = truth.classes
        return Examples(
            x,
            len(truth.classes),
            labels=truth.labels,
            probs=truth.probs,
            sample_weight=weight,
            class_weight=weights,
            label_smoothing=float(self.label_smoothing),
        )

    def _validation(self: Any, validation: tuple[Any, Any]) -> Examples:
        if not isinstance(validation, Sequence) or len(validation) != 2:
            raise invalid_type("validation", validation, "a tuple (X, y)")
        x = self._features(validation[0], reset=False, argument="validation X")
        truth = read_truth(validation[1], x.shape[0], self._dtype, classes=self.classes_, argument="validation y")
        return Examples(x, len(self.classes_), labels=truth.labels, probs=truth.probs)
