"""A softmax classifier, linear or with hidden layers, trained by minibatch SGD."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from crossent.estimators.calibration import fit_temperature
from crossent.estimators.continuing import ContinuingMixin
from crossent.estimators.exact import ExactMixin
from crossent.estimators.features import mean_square_length
from crossent.estimators.inputs import InputsMixin
from crossent.estimators.parameters import as_generator, check_parameters
from crossent.estimators.scikit_learn_callbacks import CallbackSupportMixin, EpochTasks, with_callbacks
from crossent.estimators.spread import SpreadMixin, common_temperature
from crossent.estimators.streaming import StreamingMixin
from crossent.estimators.weights import hold_out
from crossent.training import Examples, Problem, TrainingEvent, TrainingOptions, TrainingResult, train
from crossent.training.blocks import Blocks
from crossent.training.state import Store

Array = npt.NDArray[Any]
DEFAULT_BATCH = 128
GREATEST_ALPHA = 1e-4  # that alpha="auto" stands for
NETWORK_PENALTY = 5.0  # as many times a linear model's, for a network fits noise sooner
LONG_SQUARE = 100.0  # rows whose squared length is less have their weights penalised less
DEFAULT_EPOCHS = 10
# With less data more epochs: fewer steps than this leave even a convex problem unsolved.
LEAST_STEPS = 2000
DEFAULT_AVERAGE = 0.5


class SoftmaxClassifier(
    CallbackSupportMixin,  # type: ignore[misc]
    InputsMixin,
    ContinuingMixin,
    ExactMixin,
    StreamingMixin,
    SpreadMixin,
    BaseEstimator,  # type: ignore[misc]
):
    r"""Softmax (multinomial logistic) classifier, linear or with ReLU layers, trained by minibatch SGD.

    Minimises, over the weights :math:`W` and biases of the network with logits :math:`z(x)`,

    .. math::

       \frac{\sum_i s_i \sum_c p_{ic}\,(\operatorname{logsumexp} z(x_i) - z_c(x_i))}{\sum_i s_i \sum_c p_{ic}}
       + \alpha \left(\rho \lVert W \rVert_1 + \frac{1 - \rho}{2} \lVert W \rVert_2^2\right),

    where :math:`s_i` is the sample weight, :math:`\rho` the ``l1_ratio`` and :math:`p_{ic}` the truth: 1 at the label,
    or the given probabilities, smoothed and multiplied by the class weights. Log-losses are in nats.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=()
        Widths of the hidden layers; none gives the linear model.
    alpha : float or "auto", default="auto"
        Penalty on the weights, not on the biases. "auto" is 1 / n for rows of mass n (each row's weight times its
        summed truth), as of scikit-learn's ``LogisticRegression``, and 5 / n with hidden layers, but at most 1e-4;
        1e-4 for ``partial_fit``, which does not know how many rows there will be. Sparse rows of a mean squared length
        s below 100, such as normalised texts, need weights so much larger: of these a linear model takes s / 100 of it.
    l1_ratio : float, default=0.0
        In [0, 1]: the share of the penalty that is on the absolute values; those weights that it is too much for are
        exactly 0.
    solver : {"sgd", "exact"}, default="sgd"
        "exact" brings a linear model to the minimum of its objective, over all rows at once (L-BFGS on variables of
        equal curvature, from where five epochs of "sgd" end), until no slope is over ``tol``, 1e-5 by default, or for
        ``max_epochs`` iterations, 1000 by default. ``optimizer``, ``learning_rate``, ``schedule``, ``momentum``,
        ``nesterov`` and ``batch_size`` are of "sgd" only.
    optimizer : {"sgd", "adam", "schedule-free"}, default="sgd"
        "sgd" has momentum. "adam" suits features of mixed scale. "schedule-free" (Defazio et al., 2024) averages its
        points and needs no end to be known: its ``schedule`` is constant.
    learning_rate : "auto" or float, default="auto"
        Step size before the schedule (5 % warm-up, 1000 steps at most, then as ``schedule`` says). "auto" takes it
        for a linear model from the curvature and the noise of the data; with hidden layers from a few trial steps. Of
        more than 4 epochs "sgd" takes ``sqrt(4 / max_epochs)`` of it, a quarter at least, where the schedule falls. See
        ``learning_rate_``. It is a linear model's step on the weights, and on a network's biases and its weights but
        the first; the others' steps are adjusted to the features' scale, so that dividing all features by one number
        changes nothing.
    schedule : {"linear", "constant", "cosine"}, default="linear"
        How the step falls: in a line to 0, not at all, or as half a cosine to 0.
    momentum : float, default=0.9
        In [0, 1). The first beta of "adam", and the beta of "schedule-free".
    nesterov : bool, default=False
        Of "sgd" only.
    batch_size : "auto" or int, default="auto"
        Rows per step; "auto" is 128.
    max_epochs : "auto" or int, default="auto"
        "auto" is 10, or as many as make 2000 steps.
    tol : float or None, default=None
        Stop when the training log-loss has not fallen by more than this for ``n_iter_no_change`` epochs. With
        ``early_stopping`` it is the validation log-loss that has to fall so much. None runs every epoch.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the rows, unless ``fit`` is given validation rows, and stop when
        their log-loss has not fallen for ``n_iter_no_change`` epochs. The step then goes down to 0 from the best epoch
        on, over a fifth as many epochs as led to it.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=5
    calibrate : bool, default=False
        Fit ``temperature_`` on the validation rows after the training; they are held out as for ``early_stopping``.
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each row's truth that is spread evenly over the classes.
    class_weight : dict, "balanced" or None, default=None
        Multiplies the truth of each class.
    center : bool, default=True
        Train on rows minus their mean. The result acts on raw rows all the same: the mean is folded into the
        bias.
    feature_rates : bool, default=True
        Give every feature of dense rows a learning rate of its own, by its deviation and range on a sample of the
        rows: a small feature is then learnt as soon as a large one, in whatever unit it is. Sparse features and
        ``partial_fit`` have one rate.
    dropout : float, default=0.0
        In [0, 1): the share of the hidden units that each row leaves out while training.
    average : bool or float, default=False
        The parameters are the mean over the last steps (Polyak and Juditsky, 1992): True is the last half of them, a
        number in (0, 1] their share. Goes with ``schedule="constant"``.
    warm_start : bool, default=False
        Begin where the last ``fit`` ended. The classes stay those of the first.
    checkpoint : path-like or None, default=None
        A directory for the state of the run, written every few seconds. A ``fit`` of the same data and parameters that
        finds one goes on from there, and ends with the same bits as a run without a break. When the training ends by
        itself the directory is deleted.
    distributed : bool, default=False
        Train one model in the processes that torchrun started (or that share a process group of torch.distributed):
        each gives ``fit`` its own part of the rows, maybe none, and gets the model that one process would have made of
        all rows in the order of the ranks, to rounding. ``checkpoint`` is then a directory that all of them see; a
        run goes on from it on any number of processes. Needs PyTorch.
    n_threads : int, default=1
        Threads that share a batch; the model has the same bits for any number. More than one helps on an idle machine
        only: beside another busy process they take the time of one. Predictions of many rows use as many.
    random_state : int, RandomState, Generator or None, default=None
        Draws the order of the rows, the hidden layers' first weights, the dropout, and the held-out rows.
    dtype : "float32", "float64" or None, default=None
        None keeps float32 and float64, and takes for other types the narrower that holds them exactly.
    verbose : int, default=0
        1 prints a line per epoch.
    callbacks : sequence of callable or None, default=None
        Each is called with a ``TrainingEvent`` a few times per second and after every epoch. One that returns
        True ends the training, with the best parameters so far. scikit-learn's own callbacks go to ``set_callbacks``.

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
        The epoch of the parameters: the last, unless the validation log-loss of an earlier one is less by more than
        two standard errors.
    learning_rate_ : float
        The step size used, after any halving.
    temperature_ : float
        What ``predict_proba`` divides the logits by; 1 without ``calibrate``.
    alpha_ : float
        The penalty that was used.
    objective_gap_ : float or None
        Of a linear model that ran all its epochs: its objective is at least so many nats above the minimum. The bound
        is what one feature's weights alone could still gain.

    Warns
    -----
    ConvergenceWarning
        With ``solver="exact"``, if a slope is over ``tol`` still, with its size.
        If the training diverged: the step was halved, and the training went on from the last good state. Or if
        ``objective_gap_`` is over 2 % of the log-loss of the class shares.

    Notes
    -----
    The same seed gives the same bits for any ``n_threads``, and with ``checkpoint`` also over a break.

    A sample weight of k trains as k equal rows do. The rows that ``early_stopping`` and ``calibrate`` hold out are
    drawn row by row: one of weight k is held out whole or not at all, and each of k equal rows by itself, so the two
    need not give one model. The held-out rows' log-loss is taken without weights.

    With a ``KeyboardInterrupt`` the attributes are set from the best parameters so far, and it is raised
    again.

    ``partial_fit`` and ``fit_stream`` learn from data that does not fit into memory.

    References
    ----------
    Defazio et al., "Optimal Linear Decay Learning Rate Schedules and Further Refinements", 2023, and "The Road Less
    Scheduled", 2024.

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
        alpha: Literal["auto"] | float = "auto",
        l1_ratio: float = 0.0,
        solver: Literal["sgd", "exact"] = "sgd",
        optimizer: Literal["sgd", "adam", "schedule-free"] = "sgd",
        learning_rate: Literal["auto"] | float = "auto",
        schedule: Literal["linear", "constant", "cosine"] = "linear",
        momentum: float = 0.9,
        nesterov: bool = False,
        batch_size: Literal["auto"] | int = "auto",
        max_epochs: Literal["auto"] | int = "auto",
        tol: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        calibrate: bool = False,
        label_smoothing: float = 0.0,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        center: bool = True,
        feature_rates: bool = True,
        dropout: float = 0.0,
        average: bool | float = False,
        warm_start: bool = False,
        checkpoint: str | Path | None = None,
        distributed: bool = False,
        n_threads: int = 1,
        random_state: Any = None,
        dtype: Any = None,
        verbose: int = 0,
        callbacks: Sequence[Callable[[TrainingEvent], object]] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.solver = solver
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.momentum = momentum
        self.nesterov = nesterov
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.calibrate = calibrate
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.center = center
        self.feature_rates = feature_rates
        self.dropout = dropout
        self.average = average
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.distributed = distributed
        self.n_threads = n_threads
        self.random_state = random_state
        self.dtype = dtype
        self.verbose = verbose
        self.callbacks = callbacks

    @with_callbacks
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
        X : (n, d) array or sparse matrix of numbers
            float32, float64 and uint8 are read where they lie; CSR stays sparse, and other sparse formats become it.
        y : (n,) labels of any type, or (n, C) array or sparse matrix of float probabilities
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
        if self.distributed:
            self._fit_spread(X, y, sample_weight, classes, validation)
            return self
        start = self._start(classes) if self.warm_start else None
        x = self._features(X, reset=True)
        examples = self._examples(x, y, sample_weight, self.classes_ if start else classes)
        held_out = None if validation is None else self._validation(validation)
        rng = as_generator(self.random_state)
        store = None if self.checkpoint is None else self._open_checkpoint(examples, held_out, start, rng)
        if held_out is None and (self.early_stopping or self.calibrate):
            examples, held_out = hold_out(examples, float(self.validation_fraction), rng)
        row_mass = examples.row_mass()
        self.alpha_ = self._penalty(mean_square_length(x, row_mass), float(row_mass.sum()))
        if self.solver == "exact":
            self._solve(examples, held_out, start, (X, y, sample_weight))
            return self
        problem = self._problem(examples, center=bool(self.center))
        self._train(problem, rng, held_out, store, self._theta(start, problem), (X, y, sample_weight))
        return self

    def _batch_rows(self) -> int:
        return DEFAULT_BATCH if self.batch_size == "auto" else int(self.batch_size)

    def _penalty(self, square: float | None, mass: float | None = None) -> float:
        """Return alpha, for rows of this mass together, where sparse ones have this mean squared length."""
        if self.alpha != "auto":
            return float(self.alpha)
        if len(tuple(self.hidden_layer_sizes)):
            strength = NETWORK_PENALTY
        else:
            strength = 1.0 if square is None else min(1.0, square / LONG_SQUARE)
        greatest = GREATEST_ALPHA * min(1.0, strength)
        return greatest if mass is None else min(greatest, strength / mass)

    def _problem(self, examples: Examples, *, center: Any, mass_per_row: float | None = None) -> Problem:
        return Problem(
            examples,
            tuple(self.hidden_layer_sizes),
            alpha=self.alpha_ * (1 - self.l1_ratio),
            batch_size=self._batch_rows(),
            center=center,
            n_threads=int(self.n_threads),
            mass_per_row=mass_per_row,
        )

    def _train(
        self,
        rows: Problem | Blocks,
        rng: np.random.Generator,
        held_out: Examples | None,
        store: Store | None,
        theta: Array | None,
        data: tuple[Any, Any, Any],
    ) -> None:
        options = self._options(rows.n_batches)
        X, y, sample_weight = data
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        tasks = EpochTasks(self, options.max_epochs, X, y, metadata)
        result = train(
            rows,
            options,
            rng=rng,
            validation=held_out,
            callbacks=[*self._listeners(), tasks],
            theta=theta,
            store=store,
            feature_names=getattr(self, "feature_names_in_", None),
        )
        # What partial_fit knew belongs to another fit.
        self.__dict__.pop("_stream", None)
        self._keep(result, held_out)
        tasks.finish()

    def _listeners(self) -> list[Callable[[TrainingEvent], object]]:
        return [*(self.callbacks or ()), *([print_progress] if self.verbose else ())]

    def _options(self, n_batches: int) -> TrainingOptions:
        enough = max(DEFAULT_EPOCHS, -(-LEAST_STEPS // n_batches))
        schedule_free = self.optimizer == "schedule-free"
        return TrainingOptions(
            optimizer=self.optimizer,
            learning_rate=None if self.learning_rate == "auto" else float(self.learning_rate),
            schedule="constant" if schedule_free else self.schedule,
            momentum=float(self.momentum),
            nesterov=bool(self.nesterov),
            l1=self.alpha_ * float(self.l1_ratio),
            dropout=float(self.dropout),
            feature_rates=bool(self.feature_rates),
            average=DEFAULT_AVERAGE if self.average is True else float(self.average),
            max_epochs=enough if self.max_epochs == "auto" else int(self.max_epochs),
            tol=0.0 if self.tol is None else float(self.tol),
            patience=int(self.n_iter_no_change) if self.early_stopping else None,
            tol_patience=None if self.tol is None or self.early_stopping else int(self.n_iter_no_change),
            n_threads=int(self.n_threads),
        )

    def _keep(self, result: TrainingResult, held_out: Examples | None) -> None:
        self.coefs_, self.intercepts_ = result.weights, result.biases
        self.loss_curve_, self.n_iter_, self.best_iter_ = (
            result.loss_curve,
            result.n_epochs,
            result.best_epoch,
        )
        self.learning_rate_ = result.learning_rate
        self.objective_gap_ = None if result.gap is None else result.gap.bound
        self.validation_scores_ = result.validation_losses
        self.validation_accuracies_ = result.validation_accuracies
        self.temperature_ = 1.0
        if result.interruption is not None:
            raise result.interruption
        if self.calibrate:
            assert held_out is not None
            if self.distributed:
                self.temperature_ = common_temperature(self._blocks(held_out.x), held_out, len(self.classes_))
            else:
                self.temperature_ = fit_temperature(lambda: self._blocks(held_out.x), held_out.labels, held_out.probs)

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """Return a classifier with the predictions of a fitted scikit-learn one, its layers copied.

        Parameters
        ----------
        model : LogisticRegression or MLPClassifier
            Fitted; a network's hidden layers are ReLU. The parameters of the training are not taken over.

        Raises
        ------
        TypeError, ValueError
            Another kind of model, or one that is no softmax network of ReLU layers.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> peer = LogisticRegression(max_iter=1000).fit(X, y)
        >>> np.allclose(SoftmaxClassifier.from_sklearn(peer).predict_proba(X), peer.predict_proba(X), atol=1e-12)
        True
        """
        from crossent.estimators.interop import layers_of, record_of

        weights, biases = layers_of(model)
        imported = cls(tuple(len(bias) for bias in biases[:-1]))
        imported._restore(
            weights,
            biases,
            classes=model.classes_,
            feature_names=getattr(model, "feature_names_in_", None),
            record=record_of(model),
        )
        return imported

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


def print_progress(event: TrainingEvent) -> None:
    """Print a line per epoch."""
    if event.kind != "epoch":
        return
    line = f"epoch {event.epoch}/{event.max_epochs}  log-loss {event.loss:.4f}"
    if event.validation_loss is not None and event.validation_accuracy is not None:
        line += f"  validation {event.validation_loss:.4f}  accuracy {event.validation_accuracy:.4f}"
    print(f"{line}  {event.seconds:.1f} s", flush=True)
