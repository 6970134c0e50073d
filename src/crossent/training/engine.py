"""The training loop: epochs of native batches, with callbacks, early stopping and a way back from divergence."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from crossent.training.events import Callback, TrainingEvent
from crossent.training.examples import Examples
from crossent.training.learning_rate import PROBE_ROWS, choose_learning_rate
from crossent.training.network import fold_center, layers, native_rows
from crossent.training.problem import Indices, Problem
from crossent.training.schedule import linear_decay
from crossent.training.stopping import BestSoFar

# A chunk of batches runs in native code without a pause: this much work takes 0.1 to 0.3 s on one core. Its
# size may not depend on the clock, or a run would not be a function of its seed.
CHUNK_FLOPS = 1e10
FLOPS_PER_PARAMETER = 6
FLOPS_PER_ROW = 1000
WARMUP_SHARE = 0.05
MAX_RETRIES = 20

StopReason = Literal["max_epochs", "early_stopping", "callback", "interrupt", "divergence"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train: ``SoftmaxClassifier``'s parameters of the same names, with every "auto" but one decided.

    ``learning_rate=None`` lets the data choose; ``patience`` is how many epochs may pass without a lower
    validation log-loss, None for any number.
    """

    learning_rate: float | None = None
    momentum: float = 0.9
    nesterov: bool = False
    max_epochs: int = 10
    patience: int | None = None
    n_threads: int = 1


@dataclass
class TrainingResult:
    """The trained parameters, for raw rows, and how they came about.

    Attributes
    ----------
    weights, biases : list of arrays, (inputs, outputs) and (outputs,) per layer
    loss_curve : list of float
        Each epoch's mean training log-loss in nats, without the penalty, every batch's taken before its step.
    validation_losses, validation_accuracies : list of float
        After each epoch, where there are validation rows.
    n_epochs : int
        Epochs that were completed.
    best_epoch : int
        The epoch that the parameters are from, where there are validation rows; else the last.
    learning_rate : float
        The greatest step of the schedule, after any halving.
    n_halvings : int
        How often the step was halved because the training diverged.
    stop_reason : {"max_epochs", "early_stopping", "callback", "interrupt", "divergence"}
    interruption : KeyboardInterrupt or None
        What ended the training, for the caller to raise again once the result is kept.
    """

    weights: list[npt.NDArray[Any]] = field(default_factory=list)
    biases: list[npt.NDArray[Any]] = field(default_factory=list)
    loss_curve: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    n_epochs: int = 0
    best_epoch: int = 0
    learning_rate: float = 0.0
    n_halvings: int = 0
    stop_reason: StopReason = "max_epochs"
    interruption: KeyboardInterrupt | None = None


def train(
    problem: Problem,
    options: TrainingOptions,
    *,
    rng: np.random.Generator,
    validation: Examples | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Solve the problem by minibatch SGD with momentum; the same ``rng`` state gives the same bits.

    Every epoch takes the rows in a new order from ``rng``. The step rises for the first 5 % of the run, then
    falls in a line to 0. Where the loss or a parameter is no longer finite, or an epoch's loss is over twice
    that of the constant prediction, the epoch is taken back and run again with half the step, then a quarter
    of that, and so on.

    Parameters
    ----------
    validation : Examples, optional
        After each epoch its mean log-loss is taken, and the parameters with the least one are the result.
    callbacks : sequence of callable
        Each gets every ``TrainingEvent``; one that returns True ends the training.

    Returns
    -------
    TrainingResult
        Also after a ``KeyboardInterrupt``, which is then in ``interruption``.

    Warns
    -----
    ConvergenceWarning
        If the training diverged, saying what was done about it.
    """
    with threadpool_limits(options.n_threads, user_api="blas"):
        run = _Run(problem, options, rng, validation, callbacks)
        try:
            run.train()
        except KeyboardInterrupt as interruption:
            run.result.interruption, run.result.stop_reason = interruption, "interrupt"
    return run.finish()


class _Diverged(Exception):
    """The loss or a parameter is not finite, or the loss is far above where it began."""


class _Stop(Exception):
    """The training is to end before its last epoch."""

    def __init__(self, reason: StopReason) -> None:
        self.reason: StopReason = reason


class _Run:
    def __init__(
        self,
        problem: Problem,
        options: TrainingOptions,
        rng: np.random.Generator,
        validation: Examples | None,
        callbacks: Sequence[Callback],
    ) -> None:
        self.started = time.perf_counter()
        self.problem, self.options, self.rng, self.callbacks = problem, options, rng, callbacks
        self.validation = None if validation is None else native_rows(validation, problem.center)
        self.n_validation = 0 if validation is None else len(validation.x)
        self.theta = problem.initial_parameters(rng)
        self.good = self.theta.copy()
        self.velocity = np.zeros_like(self.theta)
        n_steps = problem.n_batches * options.max_epochs
        self.schedule = linear_decay(n_steps, warmup=int(WARMUP_SHARE * n_steps))
        batch_flops = problem.batch_rows * (FLOPS_PER_PARAMETER * self.theta.size + FLOPS_PER_ROW)
        self.chunk = max(1, int(CHUNK_FLOPS / batch_flops))
        self.rate = self.loss_limit = np.nan
        self.best = BestSoFar(options.patience)
        self.result = TrainingResult()

    def train(self) -> None:
        order = self._new_order()
        self._prepare(order)
        try:
            for epoch in range(1, self.options.max_epochs + 1):
                loss = self._epoch_or_retry(epoch, order)
                self._end_epoch(epoch, loss)
                order = self._new_order()
        except _Stop as stop:
            self.result.stop_reason = stop.reason

    def finish(self) -> TrainingResult:
        result, problem = self.result, self.problem
        # An interrupt can come in the middle of an epoch that was about to be taken back.
        theta = self.theta if np.isfinite(self.theta).all() else self.good
        result.best_epoch = result.n_epochs
        if self.best.parameters is not None:
            theta, result.best_epoch = self.best.parameters, self.best.epoch
        if problem.center is not None:
            theta = fold_center(theta, problem.layer_sizes, problem.center)
        result.weights, result.biases = layers(theta, problem.layer_sizes)
        result.learning_rate = self.rate
        if result.n_halvings:
            self._warn_of_divergence()
        return result

    def _new_order(self) -> Indices:
        return self.problem.kept[self.rng.permutation(len(self.problem.kept))]

    def _prepare(self, order: Indices) -> None:
        options = self.options
        # The margin is for data whose constant prediction is all but certain.
        self.loss_limit = 2 * self.problem.loss(self.theta, order[:PROBE_ROWS]) + 0.1
        if options.learning_rate is None:
            self.rate = choose_learning_rate(self.problem, self.theta, order, options.momentum)
        else:
            self.rate = float(options.learning_rate)

    def _epoch_or_retry(self, epoch: int, order: Indices) -> float:
        start = self.theta.copy()
        for attempt in range(1, MAX_RETRIES + 1):
            try:
                loss = self._epoch(epoch, order)
                self.good = start
                return loss
            except _Diverged:
                if attempt > 1:
                    # The start itself may be bad: what a step did shows in the loss of the next batch only.
                    start = self.good
                self.theta[...] = start
                self.velocity[...] = 0
                self.rate *= 0.5**attempt
                self.result.n_halvings += attempt
        raise _Stop("divergence")

    def _epoch(self, epoch: int, order: Indices) -> float:
        problem, loss = self.problem, 0.0
        first_step = (epoch - 1) * problem.n_batches
        for begin in range(0, problem.n_batches, self.chunk):
            end = min(begin + self.chunk, problem.n_batches)
            rates = self.rate * self.schedule[first_step + begin : first_step + end]
            steps, chunk_loss = problem.descend(
                self.theta,
                self.velocity,
                order,
                problem.bounds[begin : end + 1],
                rates,
                momentum=self.options.momentum,
                nesterov=self.options.nesterov,
                # One batch may be far above the mean where weights differ much; an epoch's mean may not.
                loss_limit=100 * problem.n_batches * self.loss_limit,
            )
            if steps < end - begin:
                raise _Diverged
            loss += chunk_loss
            self._tell("batches", epoch, end, loss / float(problem.bounds[end]), rates[-1])
        mean = loss / len(order)
        if not (mean <= self.loss_limit and np.isfinite(self.theta).all()):
            raise _Diverged
        return mean

    def _end_epoch(self, epoch: int, loss: float) -> None:
        problem, result = self.problem, self.result
        result.n_epochs = epoch
        result.loss_curve.append(loss)
        if self.validation is not None:
            scores = problem.evaluate(self.theta, self.validation, self.n_validation)
            result.validation_losses.append(scores[0])
            result.validation_accuracies.append(scores[1])
            self.best.update(epoch, scores[0], self.theta)
        last_rate = self.rate * self.schedule[epoch * problem.n_batches - 1]
        self._tell("epoch", epoch, problem.n_batches, loss, last_rate)
        if self.best.exhausted:
            raise _Stop("early_stopping")

    def _tell(self, kind: Literal["batches", "epoch"], epoch: int, batch: int, loss: float, rate: float) -> None:
        if not self.callbacks:
            return
        validated = kind == "epoch" and self.validation is not None
        event = TrainingEvent(
            kind=kind,
            epoch=epoch,
            max_epochs=self.options.max_epochs,
            batch=batch,
            n_batches=self.problem.n_batches,
            loss=loss,
            validation_loss=self.result.validation_losses[-1] if validated else None,
            validation_accuracy=self.result.validation_accuracies[-1] if validated else None,
            learning_rate=float(rate),
            seconds=time.perf_counter() - self.started,
        )
        # A list: every callback hears of the event, also after one has asked to stop.
        answers = [callback(event) for callback in self.callbacks]
        if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
            raise _Stop("callback")

    def _warn_of_divergence(self) -> None:
        if self.result.stop_reason == "divergence":
            outcome = "the training was given up with the last good parameters. Are the features on a sane scale?"
        else:
            outcome = "the training went on from the last good parameters. A smaller learning_rate would save time."
        warnings.warn(
            f"The training diverged. The learning rate was halved ({self.result.n_halvings} x) to {self.rate:.3g}, "
            f"and {outcome}",
            ConvergenceWarning,
            # At the caller of fit, not at the engine.
            stacklevel=5,
        )
