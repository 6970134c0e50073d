"""The training loop: epochs of native batches, with callbacks, early stopping and a way back from divergence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from crossent.training.blocks import Blocks, InMemory
from crossent.training.convergence import measure_gap, warn_of_trouble
from crossent.training.events import Callback, TrainingEvent
from crossent.training.examples import Examples
from crossent.training.learning_rate import (
    PROBE_ROWS,
    choose_learning_rate,
    feature_factors,
    measure,
    rate_scale,
    share_of_run,
)
from crossent.training.network import Array, fold_center, layers
from crossent.training.optimizer import Optimizer
from crossent.training.options import StopReason, TrainingOptions, TrainingResult
from crossent.training.problem import Indices, Problem
from crossent.training.schedule import shares
from crossent.training.state import Store, restore, take
from crossent.training.stopping import BestSoFar, is_clearly_less

# A chunk of batches runs in native code without a pause: this much work takes 0.1 to 0.3 s on one core. Its
# size may not depend on the clock, or a run would not be a function of its seed.
CHUNK_FLOPS = 1e10
# The step rises over this share of the steps, and over so many at most.
WARMUP_SHARE, WARMUP_STEPS = 0.05, 1000
# An early stop brings the step down to 0 over this share of the epochs that led to the best one.
COOLDOWN_SHARE = 0.2
MAX_RETRIES = 20
# A network that diverges in this share of the epochs begins anew: it may have lost units to the long steps for good.
EARLY_SHARE = 0.3
MANY_IDLE, JUMP = 0.5, 1.2
# The best and the last epoch are compared on groups of validation rows.
GROUPS = 50


def train(
    rows: Problem | Blocks,
    options: TrainingOptions,
    *,
    rng: np.random.Generator,
    validation: Examples | None = None,
    callbacks: Sequence[Callback] = (),
    theta: Array | None = None,
    store: Store | None = None,
    feature_names: Sequence[str] | None = None,
) -> TrainingResult:
    """Solve the problem by minibatch descent; the same ``rng`` state gives the same bits.

    Every epoch takes the rows in a new order from ``rng``. The step rises for the first 5 % of the run, then
    follows the schedule. Where the loss or a parameter is no longer finite, or an epoch's loss is over twice
    that of the constant prediction, the block of rows is taken back and run again with half the step, then a quarter
    of that, and so on.

    Parameters
    ----------
    validation : Examples, optional
        After each epoch its mean log-loss is taken. The parameters of the last epoch are the result, unless those of
        another have a log-loss less by more than chance.
    callbacks : sequence of callable
        Each gets every ``TrainingEvent``; one that returns True ends the training.
    theta : array, optional
        Where to begin, for rows minus the center.
    store : Store, optional
        Keeps the state of the run now and then; one that holds a state is continued from there.
    feature_names : sequence of str, optional
        For the warning.

    Returns
    -------
    TrainingResult
        Also after a ``KeyboardInterrupt``, which is then in ``interruption``.

    Warns
    -----
    ConvergenceWarning
        If the training diverged, saying what was done about it, or ended far from the minimum, saying how far.
    """
    blocks = InMemory(rows) if isinstance(rows, Problem) else rows
    # The engine's own threads share out whole products: threads within them would wait busily for each other.
    with threadpool_limits(1, user_api="blas"):
        run = Run(blocks, options, rng, validation, callbacks, theta, store)
        try:
            with blocks.probe.interruptible():
                run.begin()
                run.train()
        except KeyboardInterrupt as interruption:
            run.result.interruption, run.result.stop_reason = interruption, "interrupt"
        result = run.finish()
    warn_of_trouble(result, run.constant_loss, feature_names)
    return result


class _Diverged(Exception):
    """The loss or a parameter is not finite, or the loss is far above where it began."""


class _Stop(Exception):
    """The training is to end before its last epoch."""

    def __init__(self, reason: StopReason) -> None:
        self.reason: StopReason = reason


class Run:
    """A training run under way."""

    def __init__(
        self,
        blocks: Blocks,
        options: TrainingOptions,
        rng: np.random.Generator,
        validation: Examples | None,
        callbacks: Sequence[Callback],
        theta: Array | None,
        store: Store | None,
    ) -> None:
        self.started = time.perf_counter()
        self.blocks, self.options, self.rng, self.callbacks = blocks, options, rng, callbacks
        self.store = store
        problem = blocks.probe
        self.validation = None if validation is None else problem.held_out(validation)
        self.theta = problem.initial_parameters(rng) if theta is None else theta.copy()
        self.order = problem.kept[rng.permutation(len(problem.kept))]
        self.epoch_start = self.good = self.theta.copy()
        self.initial: Array | None = None
        n_steps = blocks.n_batches * options.max_epochs
        average = None if options.average == 0 else int((1 - options.average) * n_steps)
        self.optimizer = Optimizer(
            options.optimizer,
            options.momentum,
            nesterov=options.nesterov,
            l1=options.l1,
            dropout=options.dropout,
            seed=int(rng.integers(2**62)),
            average_from=average,
        )
        self.shares = shares(options.schedule, n_steps, warmup=min(int(WARMUP_SHARE * n_steps), WARMUP_STEPS))
        self.chunk = max(1, int(CHUNK_FLOPS / problem.step_flops))
        self.rate = self.loss_limit = self.constant_loss = np.nan
        self.epoch, self.block, self.block_loss, self.epoch_seed = 1, 0, 0.0, 0
        self.last_epoch, self.cooldown_from = options.max_epochs, 0
        self.cooldown_reason: StopReason | None = None
        self.best = BestSoFar(options.patience, options.tol)
        self.falling = BestSoFar(options.tol_patience, options.tol)
        self.result = TrainingResult()
        self._cold = theta is None

    def begin(self) -> None:
        """Choose the step, or take up a stored run."""
        problem, options = self.blocks.probe, self.options
        factors = feature_factors(problem, self.order, options.optimizer) if options.feature_rates else None
        scale = measure(problem, self.order, factors)
        if self._cold and len(problem.layer_sizes) > 2:
            # The first layer starts as if the features had a mean square of 1.
            first = layers(self.theta, problem.layer_sizes)[0][0]
            first[...] *= (1 if factors is None else factors[:, None]) / scale.root_mean_square
            self.epoch_start = self.good = self.initial = self.theta.copy()
        self.optimizer.rate_scale = rate_scale(problem, scale, options.optimizer)
        if factors is not None:
            # Adam's step has the size of the rate alone, another's that of the gradient too.
            self.optimizer.feature_rate = factors if options.optimizer == "adam" else factors**2
        self.optimizer.feature_scale = scale.root_mean_square
        self.optimizer.start(self.theta)
        self.constant_loss = problem.constant_loss()
        # A linear model begins as the constant prediction.
        first_loss = 0.0
        if not self._cold or self.initial is not None:
            first_loss = problem.loss(self.theta, self.order[:PROBE_ROWS])
        # The margin is for data whose constant prediction is all but certain. A network that was a little worse than
        # that has lost units for good; a linear model loses nothing.
        times = 2.0 if self.initial is None else 1.1
        self.loss_limit = times * max(first_loss, self.constant_loss) + 0.1
        if self.store is not None and (stored := self.store.load()) is not None:
            restore(self, stored)
        elif options.learning_rate is None:
            falls = options.optimizer == "sgd" and options.schedule != "constant"
            self.rate = choose_learning_rate(
                problem,
                self.theta,
                self.order,
                self.optimizer,
                scale,
                100 * self.loss_limit,
                share=share_of_run(options.max_epochs) if falls else 1.0,
            )
        else:
            self.rate = float(options.learning_rate)

    def train(self) -> None:
        """Run the epochs that are left."""
        try:
            while self.epoch <= self.last_epoch:
                if self.block == 0:
                    self.epoch_seed = int(self.rng.integers(2**62))
                    if self.epoch > 1:
                        self.epoch_start = self.theta.copy()
                self._end_epoch(self._epoch())
            if self.cooldown_reason:
                self.result.stop_reason = self.cooldown_reason
        except _Stop as stop:
            self.result.stop_reason = stop.reason
        except BaseException as end:
            # Ctrl-C, or an error in a callback: nothing of the work is lost. Of several processes all hear of Ctrl-C.
            if self.store is not None and (isinstance(end, KeyboardInterrupt) or not self.blocks.probe.is_spread):
                self.store.flush()
            raise
        if self.store is not None:
            self.store.finish()

    def _epoch(self) -> float:
        first_step = (self.epoch - 1) * self.blocks.n_batches
        step = self.optimizer.steps
        for problem, order in self.blocks.epoch(self.epoch_seed, skip=self.block):
            self.block_loss += self._block_or_retry(problem, order, step - first_step)
            step += problem.n_batches
            self.block += 1
            if self.block < self.blocks.n_blocks:
                self._offer()
        return self.block_loss / self.blocks.n_rows

    def _block_or_retry(self, problem: Problem, order: Indices, first_batch: int) -> float:
        start = self.epoch_start if self.block == 0 else self.theta.copy()
        average = _copy(self.optimizer.average)
        steps, averaged = self.optimizer.steps, self.optimizer.averaged
        for attempt in range(1, MAX_RETRIES + 1):
            try:
                loss = self._block(problem, order, first_batch, again=attempt > 1)
                self.good = start
                return loss
            except _Diverged:
                if attempt > 1:
                    # The start itself may be bad: what a step did shows in the loss of the next batch only.
                    start = self.good
                if self._is_early() and self.initial is not None:
                    start = self.initial
                self.theta[...] = start
                self.optimizer.steps, self.optimizer.averaged = steps, averaged
                self.optimizer.average = _copy(average)
                self.optimizer.rest(self.theta)
                self.rate *= 0.5**attempt
                self.result.n_halvings += attempt
        raise _Stop("divergence")

    def _block(self, problem: Problem, order: Indices, first_batch: int, *, again: bool) -> float:
        loss, first_step = 0.0, (self.epoch - 1) * self.blocks.n_batches + first_batch
        for begin in range(0, problem.n_batches, self.chunk):
            end = min(begin + self.chunk, problem.n_batches)
            rates = self.rate * self.shares[first_step + begin : first_step + end]
            # One batch may be far above the mean where weights differ much; an epoch's mean may not.
            limit = 100 * self.blocks.n_batches * self.loss_limit
            steps, chunk_loss = self.optimizer.descend(
                problem, self.theta, order, problem.bounds[begin : end + 1], rates, limit
            )
            if steps < end - begin:
                raise _Diverged
            loss += chunk_loss
            self._tell("batches", first_batch + end, loss / float(problem.bounds[end]), rates[-1])
        # A block of a rare class alone may well lie above.
        limit = self.loss_limit * (1 if self.blocks.n_blocks == 1 else 10)
        if not (loss / len(order) <= limit and np.isfinite(self.theta).all()):
            raise _Diverged
        # A step that was too long just now may still be: long enough to lose units, not so long that the loss shows it.
        if self._is_early() and self.result.n_halvings:
            before = self.result.loss_curve[-1] if self.result.loss_curve and not again else np.inf
            if loss / len(order) > JUMP * before or problem.idle_share(self.theta, order[:PROBE_ROWS]) > MANY_IDLE:
                raise _Diverged
        return loss

    def _is_early(self) -> bool:
        return self.initial is not None and self.epoch <= max(1, EARLY_SHARE * self.options.max_epochs)

    def _end_epoch(self, loss: float) -> None:
        result, epoch = self.result, self.epoch
        result.n_epochs = epoch
        result.loss_curve.append(loss)
        last_rate = self.rate * self.shares[epoch * self.blocks.n_batches - 1]
        self.falling.update(epoch, loss, None)
        if self.validation is not None:
            scores = self.blocks.probe.evaluate(self._answer(), self.validation, np.arange(self.validation.n_rows))
            result.validation_losses.append(scores[0])
            result.validation_accuracies.append(scores[1])
            self.best.update(epoch, scores[0], self._answer())
        self.epoch, self.block, self.block_loss = epoch + 1, 0, 0.0
        if not self.cooldown_reason:
            if self.best.exhausted:
                self._cool_down("early_stopping")
            elif self.falling.exhausted:
                self._cool_down("tol")
        self._offer()
        self._tell("epoch", self.blocks.n_batches, loss, last_rate, epoch)

    def _cool_down(self, reason: StopReason) -> None:
        """Go back to the best parameters and bring the step down to 0 from there: at a large step they are noisy."""
        epochs = self.epoch - 1
        best = self.best.epoch if self.best.parameters is not None else epochs
        more = min(max(1, round(COOLDOWN_SHARE * best)), self.options.max_epochs - epochs)
        self.cooldown_reason = reason
        self.cooldown_from = epochs
        self.last_epoch = epochs + (more if self._cools_down() else 0)
        if self.last_epoch == epochs:
            return
        if self.best.parameters is not None:
            self.theta[...] = self.best.parameters
            self.optimizer.rest(self.theta)
        self.lower_shares()

    def _cools_down(self) -> bool:
        return self.options.optimizer != "schedule-free" and self.optimizer.average is None

    def lower_shares(self) -> None:
        """Bring the step down from where the cooling down begins."""
        first, end = (epoch * self.blocks.n_batches for epoch in (self.cooldown_from, self.last_epoch))
        if first < end:
            self.shares[first:end] = self.shares[first] * shares("linear", end - first)

    def _answer(self) -> Array:
        return self.optimizer.average if self.optimizer.averaged and self.optimizer.average is not None else self.theta

    def _for_raw_rows(self, theta: Array) -> tuple[list[Array], list[Array]]:
        center, sizes = self.blocks.center, self.blocks.layer_sizes
        return layers(fold_center(theta, sizes, center, scale=self.blocks.probe.examples.scale), sizes)

    def finish(self) -> TrainingResult:
        """Return the parameters that the run ends with."""
        result, best = self.result, self.best
        # An interrupt can come in the middle of an epoch that was about to be taken back.
        theta = self._answer() if np.isfinite(self._answer()).all() else self.good
        result.best_epoch = result.n_epochs
        if best.parameters is not None:
            if result.stop_reason in ("interrupt", "callback", "divergence") and self._within_an_epoch():
                theta = self.epoch_start
            if best.epoch < result.n_epochs and is_clearly_less(self._losses(best.parameters), self._losses(theta)):
                theta, result.best_epoch = best.parameters, best.epoch
        if result.stop_reason == "max_epochs" and len(self.blocks.layer_sizes) == 2:
            result.gap = measure_gap(self.blocks.probe, theta, self.order, self.options.l1, self.blocks.n_rows)
        result.weights, result.biases = self._for_raw_rows(theta)
        result.learning_rate = self.rate
        return result

    def _within_an_epoch(self) -> bool:
        return self.optimizer.steps != self.result.n_epochs * self.blocks.n_batches

    def _losses(self, theta: Array) -> npt.NDArray[np.float64]:
        """Return the validation log-loss of each of a few groups of rows."""
        assert self.validation is not None
        n = self.validation.n_rows
        groups = [np.arange(at, n, GROUPS) for at in range(min(GROUPS, n))]
        return np.array([self.blocks.probe.evaluate(theta, self.validation, group)[0] for group in groups])

    def _tell(
        self, kind: Literal["batches", "epoch"], batch: int, loss: float, rate: float, epoch: int | None = None
    ) -> None:
        if not self.callbacks:
            return
        validated = kind == "epoch" and self.validation is not None
        event = TrainingEvent(
            kind=kind,
            epoch=self.epoch if epoch is None else epoch,
            max_epochs=self.last_epoch,
            batch=batch,
            n_batches=self.blocks.n_batches,
            loss=loss,
            validation_loss=self.result.validation_losses[-1] if validated else None,
            validation_accuracy=self.result.validation_accuracies[-1] if validated else None,
            learning_rate=float(rate),
            seconds=time.perf_counter() - self.started,
            parameters=lambda: self._for_raw_rows(self._answer()),
        )
        # A list: every callback hears of the event, also after one has asked to stop.
        answers = self.blocks.probe.together(lambda: [callback(event) for callback in self.callbacks])
        if self.blocks.probe.anywhere(any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)):
            raise _Stop("callback")

    def _offer(self) -> None:
        if self.store is not None:
            self.store.offer(lambda: take(self))


def _copy(array: Array | None) -> Array | None:
    return None if array is None else array.copy()
