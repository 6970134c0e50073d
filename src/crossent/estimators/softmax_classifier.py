"""A softmax classifier, linear or with hidden layers, trained by minibatch SGD."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data

from crossent.errors import invalid_type
from crossent.estimators.features import as_rows, check_finite, engine_dtype
from crossent.estimators.parameters import as_generator, check_parameters
from crossent.estimators.probabilities import log_softmax, softmax
from crossent.estimators.truth import class_weights, is_soft, read_truth
from crossent.estimators.weights import check_sample_weight, hold_out
from crossent.training import Examples, Problem, TrainingEvent, TrainingOptions, TrainingResult, train

Array = npt.NDArray[Any]
DEFAULT_BATCH = 128
DEFAULT_EPOCHS = 10
# With less data more epochs: fewer steps than this leave even a convex problem unsolved.
LEAST_STEPS = 2000
PREDICTED_ROWS = 8192


class SoftmaxClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Softmax (multinomial logistic) classifier, linear or with ReLU layers, trained by minibatch SGD.

    Minimises, over the weights :math:`W` and biases of the network with logits :math:`z(x)`,

    .. math::

       \frac{\sum_i s_i \sum_c p_{ic}\,(\operatorname{logsumexp} z(x_i) - z_c(x_i))}{\sum_i s_i \sum_c p_{ic}}
       + \frac{\alpha}{2} \lVert W \rVert^2,

    where :math:`s_i` is the sample weight and :math:`p_{ic}` the truth: 1 at the label, or the given
    probabilities, smoothed and multiplied by the class weights. Log-losses are in nats.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=()
        Widths of the hidden layers; none gives the linear model.
    alpha : float, default=1e-4
        L2 penalty on the weights, not on the biases.
    learning_rate : "auto" or float, default="auto"
        Step size before the schedule (5 % warm-up, then a line down to 0). "auto" takes it from the curvature
        of the data, ``(1 + momentum) / (lambda_max / 2 + alpha)`` for a linear model; with hidden layers from
        half of that down, by a few trial steps. See ``learning_rate_``.
    momentum : float, default=0.9
        In [0, 1).
    nesterov : bool, default=False
    batch_size : "auto" or int, default="auto"
        Rows per step; "auto" is 128.
    max_epochs : "auto" or int, default="auto"
        "auto" is 10, or as many as make 2000 steps.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the rows, unless ``fit`` is given validation rows, and stop when
        their log-loss has not fallen for ``n_iter_no_change`` epochs.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each row's truth that is spread evenly over the classes.
    class_weight : dict, "balanced" or None, default=None
        Multiplies the truth of each class.
    center : bool, default=True
        Train on rows minus their mean. The result acts on raw rows all the same: the mean is folded into the
        bias.
    n_threads : int, default=1
        Threads of the matrix products and the loss. The same seed gives the same bits for the same ``n_threads``.
        More than one helps wide networks on an idle machine only: the threads of a BLAS wait busily, and batches are
        small. Beside another busy process two can be twenty times slower than one.
    random_state : int, RandomState, Generator or None, default=None
        Draws the order of the rows, the hidden layers' first weights, and the held-out rows.
    dtype : "float32", "float64" or None, default=None
        None keeps float32 and float64, and takes for other types the narrower that holds them exactly.
    verbose : int, default=0
        1 prints a line per epoch.
    callbacks : sequence of callable or None, default=None
        Each is called with a ``TrainingEvent`` a few times per second and after every epoch. One that returns
        True ends the training, with the best parameters so far.

    Attributes
    ----------
    classes_ : (C,) array
    n_features_in_, feature_names_in_
        The latter where X has column names.
    coefs_, intercepts_ : list of arrays, (inputs, outputs) and (outputs,) per layer
    coef_, intercept_ : (C, d) and (C,) array
        Of a linear model, as scikit-learn has them: for two classes (1, d) and (1,), the second's logit minus
        the first's.
    loss_curve_ : list of float
        Each epoch's mean training log-loss, without the penalty, every batch's taken before its step.
    validation_scores_, validation_accuracies_ : list of float
        Log-loss and accuracy on the validation rows after each epoch, if there are any.
    n_iter_ : int
        Epochs completed.
    best_iter_ : int
        The epoch of the parameters: that of the least validation log-loss, or the last.
    learning_rate_ : float
        The step size used, after any halving.

    Notes
    -----
    With a ``KeyboardInterrupt`` the attributes are set from the best parameters so far, and it is raised
    again.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxClassifier(random_state=0).fit(X, y)
    >>> model.predict(X[:2]), round(model.score(X, y), 2)
    (array([0, 0]), 0.98)

    Soft labels:

    >>> P = np.array([[0.9, 0.1], [0.4, 0.6]])
    >>> model = SoftmaxClassifier(random_state=0, alpha=0).fit([[0.0], [1.0]], P, classes=["cat", "dog"])
    >>> model.predict_proba([[1.0]]).round(3)
    array([[0.4, 0.6]])
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (),
        *,
        alpha: float = 1e-4,
        learning_rate: Literal["auto"] | float = "auto",
        momentum: float = 0.9,
        nesterov: bool = False,
        batch_size: Literal["auto"] | int = "auto",
        max_epochs: Literal["auto"] | int = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        label_smoothing: float = 0.0,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        center: bool = True,
        n_threads: int = 1,
        random_state: Any = None,
        dtype: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callable[[TrainingEvent], object]] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.center = center
        self.n_threads = n_threads
        self.random_state = random_state
        self.dtype = dtype
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        classes: Any = None,
        validation: tuple[Any, Any] | None = None,
    ) -> Self:
        """Train on rows X and their truth y.

        Parameters
        ----------
        X : (n, d) array of numbers
        y : (n,) labels of any type, or (n, C) array of float probabilities
        sample_weight : (n,) array, optional
            A row of weight 2 counts as two rows.
        classes : (C,) sequence, optional
            Names the columns of ``predict_proba`` in order; for labels it may have classes that y lacks. By
            default the sorted labels, or 0 to C-1 for probabilities.
        validation : tuple (X, y), optional
            Rows to take the log-loss of after every epoch; the parameters with the least one are kept.

        Raises
        ------
        ValueError
            A parameter or an entry that cannot be used; ``DataError`` (a ValueError) for NaN or infinity in
            X.
        """
        check_parameters(self)
        x = self._features(X, reset=True)
        examples = self._examples(x, y, sample_weight, classes)
        rng = as_generator(self.random_state)
        held_out = None
        if validation is not None:
            held_out = self._validation(validation)
        elif self.early_stopping:
            examples, held_out = hold_out(examples, self.validation_fraction, rng)
        problem = Problem(
            examples,
            tuple(self.hidden_layer_sizes),
            alpha=float(self.alpha),
            batch_size=DEFAULT_BATCH if self.batch_size == "auto" else int(self.batch_size),
            center=bool(self.center),
            n_threads=int(self.n_threads),
        )
        callbacks = [*(self.callbacks or ()), *([print_progress] if self.verbose else ())]
        options = self._options(problem.n_batches)
        self._keep(train(problem, options, rng=rng, validation=held_out, callbacks=callbacks))
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the logits, (n, C); for two classes, as scikit-learn has it, the second's minus the first's, (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> Array:
        """Return each row's most probable class, (n,)."""
        best = self._logits(X).argmax(axis=1)
        predicted: Array = self.classes_[best]
        return predicted

    def predict_proba(self, X: Any) -> Array:
        """Return each row's probability of every class, (n, C) in the model's dtype."""
        return softmax(self._logits(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of ``predict_proba``, finite and accurate where those are 0 or 1, (n, C)."""
        return log_softmax(self._logits(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; for probabilities y, of hitting the most probable class."""
        truth = np.asarray(y)
        if is_soft(truth):
            truth = self.classes_[truth.argmax(axis=1)]
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

    def _features(self, X: Any, *, reset: bool, argument: str = "X") -> Array:
        x = validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite=False)
        check_finite(x, getattr(self, "feature_names_in_", None), argument)
        if reset:
            self._dtype: np.dtype[Any] = engine_dtype(x.dtype) if self.dtype is None else np.dtype(self.dtype)
        return as_rows(x, self._dtype)

    def _examples(self, x: Array, y: Any, sample_weight: Any, classes: Any) -> Examples:
        truth = read_truth(y, len(x), x.dtype, classes=classes)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, len(x))
        mass = truth.class_mass(weight)
        self.classes_ = truth.classes
        return Examples(
            x,
            len(truth.classes),
            labels=truth.labels,
            probs=truth.probs,
            sample_weight=weight,
            class_weight=class_weights(self.class_weight, truth.classes, mass),
            label_smoothing=float(self.label_smoothing),
        )

    def _validation(self, validation: tuple[Any, Any]) -> Examples:
        if not isinstance(validation, Sequence) or len(validation) != 2:
            raise invalid_type("validation", validation, "a tuple (X, y)")
        x = self._features(validation[0], reset=False, argument="validation X")
        truth = read_truth(validation[1], len(x), x.dtype, classes=self.classes_, argument="validation y")
        return Examples(x, len(self.classes_), labels=truth.labels, probs=truth.probs)

    def _options(self, n_batches: int) -> TrainingOptions:
        enough = max(DEFAULT_EPOCHS, -(-LEAST_STEPS // n_batches))
        return TrainingOptions(
            learning_rate=None if self.learning_rate == "auto" else float(self.learning_rate),
            momentum=float(self.momentum),
            nesterov=bool(self.nesterov),
            max_epochs=enough if self.max_epochs == "auto" else int(self.max_epochs),
            patience=int(self.n_iter_no_change) if self.early_stopping else None,
            n_threads=int(self.n_threads),
        )

    def _keep(self, result: TrainingResult) -> None:
        self.coefs_, self.intercepts_ = result.weights, result.biases
        self.loss_curve_, self.n_iter_, self.best_iter_ = (
            result.loss_curve,
            result.n_epochs,
            result.best_epoch,
        )
        self.learning_rate_ = result.learning_rate
        self.validation_scores_ = result.validation_losses
        self.validation_accuracies_ = result.validation_accuracies
        if result.interruption is not None:
            raise result.interruption

    def _restore(
        self,
        weights: list[Array],
        biases: list[Array],
        *,
        classes: Array,
        feature_names: Sequence[str] | None,
        record: Mapping[str, Any],
    ) -> None:
        """Set the fitted attributes from a file, after making sure that they fit each other."""
        sizes = [len(weights[0]), *map(int, self.hidden_layer_sizes), len(classes)]
        for weight, bias, shape in zip(weights, biases, pairwise(sizes), strict=True):
            if weight.shape != shape or bias.shape != shape[1:] or weight.dtype != weights[0].dtype:
                raise ValueError(f"a layer has shapes {weight.shape} and {bias.shape}, expected {shape}")
        if feature_names is not None:
            if len(feature_names) != sizes[0]:
                raise ValueError(f"{len(feature_names)} feature names for {sizes[0]} features")
            self.feature_names_in_ = np.array(feature_names, dtype=object)
        self.n_features_in_, self.classes_ = sizes[0], classes
        self.coefs_, self.intercepts_, self._dtype = weights, biases, weights[0].dtype
        for name, value in record.items():
            setattr(self, name, value)

    def _logits(self, X: Any) -> Array:
        check_is_fitted(self)
        x = self._features(X, reset=False)
        logits = np.empty((len(x), len(self.classes_)), dtype=self._dtype)
        # In blocks: the hidden layers of a large X would take more memory than X.
        for start in range(0, len(x), PREDICTED_ROWS):
            rows = slice(start, start + PREDICTED_ROWS)
            logits[rows] = self._forward(x[rows])
        return logits

    def _forward(self, x: Array) -> Array:
        for weight, bias in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            x = np.maximum(x @ weight + bias, 0)
        logits: Array = x @ self.coefs_[-1] + self.intercepts_[-1]
        return logits


def print_progress(event: TrainingEvent) -> None:
    """Print a line per epoch."""
    if event.kind != "epoch":
        return
    line = f"epoch {event.epoch}/{event.max_epochs}  log-loss {event.loss:.4f}"
    if event.validation_loss is not None and event.validation_accuracy is not None:
        line += f"  validation {event.validation_loss:.4f}  accuracy {event.validation_accuracy:.4f}"
    print(f"{line}  {event.seconds:.1f} s", flush=True)
