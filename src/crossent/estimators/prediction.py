"""What a fitted classifier says of rows: logits, probabilities, classes, in blocks of a bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from threadpoolctl import threadpool_limits

from crossent.estimators.probabilities import log_softmax, softmax
from crossent.estimators.truth import is_soft

Array = npt.NDArray[Any]
PREDICTED_ROWS = 8192
# A block's logits, and the few arrays of float64 on the way to its probabilities, stay below some tens of MiB.
PREDICTED_VALUES = 2**20


class PredictionMixin:
    """The predictions of a classifier that has ``coefs_``, ``intercepts_``, ``classes_`` and ``temperature_``."""

    classes_: Array
    coefs_: list[Array]
    intercepts_: list[Array]
    temperature_: float
    n_threads: int
    _dtype: np.dtype[Any]
    _features: Callable[..., Any]

    def decision_function(self, X: Any) -> Array:
        """Return the logits, (n, C); for two classes, as scikit-learn has it, the second's minus the first's, (n,).

        They are what the training left: ``temperature_`` does not touch them.
        """
        check_is_fitted(self)
        logits = self._of_rows(X, lambda logits: logits)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> Array:
        """Return each row's most probable class, (n,)."""
        check_is_fitted(self)
        best = [logits.argmax(axis=1) for _, logits in self._blocks(self._features(X, reset=False))]
        predicted: Array = self.classes_[np.concatenate(best)]
        return predicted

    def predict_proba(self, X: Any) -> Array:
        """Return each row's probability of every class, (n, C) in the model's dtype."""
        check_is_fitted(self)
        return self._of_rows(X, lambda logits: softmax(self._tempered(logits)))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of ``predict_proba``, finite and accurate where those are 0 or 1, (n, C)."""
        check_is_fitted(self)
        return self._of_rows(X, lambda logits: log_softmax(self._tempered(logits)))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; for probabilities y, of hitting the most probable class."""
        from sklearn.metrics import accuracy_score

        truth = y
        if is_soft(y):
            probs = y.tocsr() if issparse(y) else np.asarray(y)
            truth = self.classes_[np.asarray(probs.argmax(axis=1)).ravel()]
        return float(accuracy_score(truth, self.predict(X), sample_weight=sample_weight))

    @property
    def coef_(self) -> Array:
        """The weights of a linear model, (C, d), or (1, d) for two classes."""
        weight = self._only_layer("coef_", "coefs_")
        return np.ascontiguousarray((weight[:, 1:] - weight[:, :1]).T if weight.shape[1] == 2 else weight.T)

    @property
    def intercept_(self) -> Array:
        """The biases of a linear model, (C,), or (1,) for two classes."""
        bias = self._only_layer("intercept_", "intercepts_")
        return bias[1:] - bias[:1] if len(bias) == 2 else bias

    def _only_layer(self, name: str, of_all: str) -> Array:
        arrays: list[Array] = self.__dict__.get(of_all, [])
        if len(arrays) != 1:
            why = "it is not fitted" if not arrays else f"it has hidden layers: see {of_all}"
            raise AttributeError(f"this {type(self).__name__} has no {name}: {why}")
        return arrays[0]

    def _tempered(self, logits: Array) -> Array:
        return logits if self.temperature_ == 1 else logits / logits.dtype.type(self.temperature_)

    def _of_rows(self, X: Any, of_logits: Callable[[Array], Array]) -> Array:
        x = self._features(X, reset=False)
        values = np.empty((x.shape[0], len(self.classes_)), dtype=self._dtype)
        for rows, logits in self._blocks(x):
            values[rows] = of_logits(logits)
        return values

    def _blocks(self, x: Any) -> Iterator[tuple[slice, Array]]:
        # In blocks: the layers of a large X would take more memory than X.
        widest = max(len(bias) for bias in self.intercepts_)
        step = max(1, min(PREDICTED_ROWS, PREDICTED_VALUES // widest))
        if x.shape[0] <= step:
            yield slice(0, x.shape[0]), self._forward(x)
            return
        # A BLAS that shares out each of many small products waits for its threads longer than they take.
        with threadpool_limits(int(self.n_threads), user_api="blas"):
            for start in range(0, x.shape[0], step):
                rows = slice(start, start + step)
                yield rows, self._forward(x[rows])

    def _forward(self, x: Any) -> Array:
        for weight, bias in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            x = _product(x, weight, bias)
            np.maximum(x, 0, out=x)
        return _product(x, self.coefs_[-1], self.intercepts_[-1])


def check_is_fitted(model: Any) -> None:
    """Raise scikit-learn's NotFittedError if the model has no weights yet."""
    if not hasattr(model, "coefs_"):
        from sklearn.utils.validation import check_is_fitted as refuse

        refuse(model, "coefs_")


def _product(x: Any, weight: Array, bias: Array) -> Array:
    out: Array = x @ weight
    out += bias
    return out
