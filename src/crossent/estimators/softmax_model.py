"""What a softmax classifier is before it is an estimator of scikit-learn: its parameters, its fit, its predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from crossent.estimators.calibration import fit_temperature
from crossent.estimators.continuing import ContinuingMixin
from crossent.estimators.epoch_tasks import EpochTasks
from crossent.estimators.exact import ExactMixin
from crossent.estimators.features import mean_square_length
from crossent.estimators.inputs import InputsMixin
from crossent.estimators.parameters import as_generator, check_parameters
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


class SoftmaxModel(InputsMixin, ContinuingMixin, ExactMixin, StreamingMixin, SpreadMixin):
    """All of ``SoftmaxClassifier`` but what it has of scikit-learn, which takes longer to load than many a fit.

    For rows that need no check, as the command line has read them.
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

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        classes: Any = None,
        validation: tuple[Any, Any] | None = None,
    ) -> Self:
        """Train on rows X and their truth y; see ``SoftmaxClassifier.fit``."""
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

    def parameters(self) -> dict[str, Any]:
        """Return what the model was made with, by name."""
        names = sorted(inspect.signature(type(self)).parameters)
        return {name: getattr(self, name) for name in names}

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
