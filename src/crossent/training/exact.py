"""A linear model at the minimum of its objective, to a stated gradient: preconditioned L-BFGS over all rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from crossent.training.blocks import InMemory
from crossent.training.engine import Run as Descent
from crossent.training.events import Callback, TrainingEvent
from crossent.training.examples import Examples
from crossent.training.network import Array, initial_parameters
from crossent.training.objective import DoubleObjective, Floats, NativeObjective, Objective
from crossent.training.options import Gap, TrainingOptions, TrainingResult
from crossent.training.preconditioner import (
    MOST_PARAMETERS,
    GramPreconditioner,
    HessianPreconditioner,
    Preconditioner,
)
from crossent.training.problem import Problem

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

# Pairs of steps and slopes that L-BFGS keeps, fewer where they would take more than so many numbers.
MOST_PAIRS, LEAST_PAIRS, PAIR_ENTRIES = 40, 5, 1 << 25
# Evaluations that one line search may take; they are rarely more than one.
LINE_SEARCH = 30
# Minibatch descent comes near the minimum in a tenth of the passes that L-BFGS would take, and no further.
WARM_UP_EPOCHS, WARM_UP_BATCH = 5, 128
# Of few parameters the variables are chosen anew after so many iterations, by the curvature where they have led.
TURNS = (10, 20)


@dataclass(frozen=True)
class ExactOptions:
    """``alpha`` multiplies |W|²/2; ``tol`` is the largest slope to end at, in nats per unit of a weight."""

    alpha: float
    tol: float = 1e-5
    max_iter: int = 1000
    center: bool = True
    n_threads: int = 1


def minimize_exactly(
    examples: Examples,
    options: ExactOptions,
    *,
    callbacks: Sequence[Callback] = (),
    start: tuple[Array, Array] | None = None,
) -> TrainingResult:
    r"""Minimise a linear model's mean log-loss plus :math:`\frac\alpha2\lVert W\rVert^2` over all rows at once.

    Ends where no slope of the objective, in any weight or bias of the centred rows, is over ``tol`` in size. A few
    epochs of minibatch descent lead to where L-BFGS begins, on variables in which the curvature is much the same in all
    directions: by the rows' Gram matrix, and for few parameters by the Hessian at the point reached. Rows are taken in
    their own dtype for as long as it can tell two objectives apart, then in float64.

    Parameters
    ----------
    examples : Examples
        Rows of every kind; sparse ones are never made dense or centred.
    callbacks : sequence of callable
        Each gets a ``TrainingEvent`` per iteration; one that returns True ends the run.
    start : tuple of arrays (d, C) and (C,), optional
        Weights and bias for raw rows to begin with, without minibatch descent.

    Returns
    -------
    TrainingResult
        Weights and bias are for raw rows. ``n_epochs`` counts iterations, and ``gap.gradient_norm`` is the Euclidean
        norm of the slopes. Also after a ``KeyboardInterrupt``, which is then in ``interruption``.

    Warns
    -----
    ConvergenceWarning
        If a slope is still over ``tol``, saying how large it is and why the run ended.

    References
    ----------
    D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics 44
    (1992), section 2; D. C. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization",
    Mathematical Programming 45 (1989), section 2.
    """
    with threadpool_limits(options.n_threads, user_api="blas"):
        run = _Run(examples, options, callbacks, start)
        try:
            run.solve()
        except KeyboardInterrupt as interruption:
            run.result.interruption, run.result.stop_reason = interruption, "interrupt"
    return run.finish()


@dataclass(frozen=True)
class _Point:
    """Where the objective was evaluated, for centred rows: its value with and without the penalty, and its slopes."""

    variables: Floats
    weight: Floats
    bias: Floats
    loss: float
    value: float
    slope: Floats
    bias_slope: Floats

    @property
    def largest_slope(self) -> float:
        return float(max(np.abs(self.slope).max(), np.abs(self.bias_slope).max()))


class _Run:
    def __init__(
        self,
        examples: Examples,
        options: ExactOptions,
        callbacks: Sequence[Callback],
        start: tuple[Array, Array] | None,
    ) -> None:
        self.started = time.perf_counter()
        self.examples, self.options, self.callbacks = examples, options, callbacks
        self.shape = (examples.x.shape[1], examples.n_classes)
        self.objective: Objective = NativeObjective(examples, center=options.center, n_threads=options.n_threads)
        gram = GramPreconditioner(examples, self.objective.center, options.alpha)
        self.preconditioner: Preconditioner = gram
        self.mean_squares = gram.mean_squares
        self.is_cold = start is None
        self.result = TrainingResult()
        weight, bias = self._first(start)
        self.point = self._evaluate(self.preconditioner.variables(weight, bias))

    def solve(self) -> None:
        if self.is_cold and not self._is_done():
            self._warm_up()
        for iterations in TURNS if (self.shape[0] + 1) * self.shape[1] <= MOST_PARAMETERS else ():
            if not self._is_over():
                self._descend(iterations)
                self._turn()
        ended_early = self._descend(self.options.max_iter)
        if ended_early and self.examples.dtype != np.float64:
            # The rows' dtype cannot tell the objective from a lower one any more.
            center = self.objective.center
            self.objective = DoubleObjective(self.examples, center=center, n_threads=self.options.n_threads)
            self.point = self._evaluate(self.point.variables)
            ended_early = self._descend(self.options.max_iter)
        if ended_early:
            self.result.stop_reason = "precision"

    def finish(self) -> TrainingResult:
        result = self.result
        result.weights, result.biases = self._raw()
        result.best_epoch, result.gap = result.n_epochs, self._gap()
        if result.stop_reason in ("max_epochs", "precision"):
            self._warn()
        return result

    def _first(self, start: tuple[Array, Array] | None) -> tuple[Floats, Floats]:
        """Return the centred rows' weight and bias to begin with: the given ones, or the best constant prediction."""
        if start is not None:
            weight, bias = (np.asarray(array, np.float64) for array in start)
            weight = weight / self.examples.scale
            return weight, bias + self.objective.center @ weight
        theta = initial_parameters(self.shape, self.examples.class_mass(), np.random.default_rng(0), np.float64)
        return np.zeros(self.shape), theta[-self.shape[1] :]

    def _warm_up(self) -> None:
        """Go to where a few epochs of minibatch descent end, if that is lower."""
        options = self.options
        problem = Problem(
            self.examples,
            (),
            alpha=options.alpha,
            batch_size=WARM_UP_BATCH,
            center=options.center,
            n_threads=options.n_threads,
        )
        # Fixed: the minimum does not depend on where the way to it begins.
        rng = np.random.default_rng(0)
        with threadpool_limits(1, user_api="blas"):
            descent = Descent(InMemory(problem), TrainingOptions(max_epochs=WARM_UP_EPOCHS), rng, None, (), None, None)
            descent.begin()
            descent.train()
        theta = descent.theta.astype(np.float64)
        n_weights = self.shape[0] * self.shape[1]
        weight, bias = theta[:n_weights].reshape(self.shape), theta[n_weights:]
        if np.isfinite(theta).all():
            point = self._evaluate(self.preconditioner.variables(weight, bias))
            self.point = min(self.point, point, key=lambda reached: reached.value)

    def _turn(self) -> None:
        """Change to variables in which the curvature at the current point is much the same in all directions."""
        weight, bias = self.point.weight, self.point.bias
        self.preconditioner = HessianPreconditioner(
            self.examples, self.objective.center, self.options.alpha, weight, bias
        )
        # The same point in other variables: nothing is to be evaluated again.
        self.point = replace(self.point, variables=self.preconditioner.variables(weight, bias))

    def _descend(self, iterations: int) -> bool:
        """Run so many iterations of L-BFGS from the current point; return whether it ended before it was told to."""
        left = min(iterations, self.options.max_iter - self.result.n_epochs)
        if self._is_over():
            return False
        from scipy.optimize import minimize

        self.tried = self.point
        end = minimize(
            self._value_and_slopes,
            self.point.variables,
            jac=True,
            method="L-BFGS-B",
            callback=self._after_iteration,
            options={
                "maxcor": self._pairs(),
                "maxiter": left,
                "maxfun": 10**9,
                "maxls": LINE_SEARCH,
                "gtol": 0,
                "ftol": 0,
            },
        )
        return self.result.stop_reason == "max_epochs" and end.nit < left

    def _pairs(self) -> int:
        return max(LEAST_PAIRS, min(MOST_PAIRS, PAIR_ENTRIES // (2 * self.point.variables.size)))

    def _evaluate(self, variables: Floats) -> _Point:
        weight, bias = self.preconditioner.parameters(variables, self.shape[1])
        loss, slope, bias_slope = self.objective(weight, bias)
        penalty = 0.5 * self.options.alpha * float(np.vdot(weight, weight))
        return _Point(
            variables.copy(), weight, bias, loss, loss + penalty, slope + self.options.alpha * weight, bias_slope
        )

    def _value_and_slopes(self, variables: Floats) -> tuple[float, Floats]:
        if not np.array_equal(variables, self.tried.variables):
            self.tried = self._evaluate(variables)
        return self.tried.value, self.preconditioner.slopes(self.tried.slope, self.tried.bias_slope)

    # SciPy passes its result by this name.
    def _after_iteration(self, intermediate_result: OptimizeResult) -> None:
        self._value_and_slopes(intermediate_result.x)
        self.point = self.tried
        self.result.n_epochs += 1
        self.result.loss_curve.append(self.point.loss)
        if self._tell():
            self.result.stop_reason = "callback"
            raise StopIteration
        if self._is_done():
            raise StopIteration

    def _is_over(self) -> bool:
        return (
            self.result.stop_reason != "max_epochs" or self.result.n_epochs >= self.options.max_iter or self._is_done()
        )

    def _is_done(self) -> bool:
        done = self.point.largest_slope <= self.options.tol
        if done:
            self.result.stop_reason = "tol"
        return done

    def _raw(self) -> tuple[list[Array], list[Array]]:
        """Return the parameters for raw rows, in the rows' dtype."""
        dtype, point = self.examples.dtype, self.point
        bias = point.bias - self.objective.center @ point.weight
        return [(point.weight * self.examples.scale).astype(dtype)], [bias.astype(dtype)]

    def _tell(self) -> bool:
        """Tell every callback of the iteration; return whether one asks to stop."""
        event = TrainingEvent(
            kind="epoch",
            epoch=self.result.n_epochs,
            max_epochs=self.options.max_iter,
            batch=1,
            n_batches=1,
            loss=self.point.loss,
            validation_loss=None,
            validation_accuracy=None,
            learning_rate=1.0,
            seconds=time.perf_counter() - self.started,
            parameters=self._raw,
        )
        answers = [callback(event) for callback in self.callbacks]
        return any(isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers)

    def _gap(self) -> Gap:
        """Return what one feature's slopes say that the objective is above its minimum at least."""
        point, alpha = self.point, self.options.alpha
        squares = np.append((point.slope**2).sum(axis=1), (point.bias_slope**2).sum())
        # Böhning's bound of the curvature along a feature's weights: half its mean square.
        curvature = np.append(0.5 * self.mean_squares + alpha, 0.5)
        bounds = np.divide(squares, 2 * curvature, out=np.zeros_like(squares), where=curvature > 0)
        best = int(bounds.argmax())
        return Gap(float(bounds[best]), best if best < self.shape[0] else None, float(np.sqrt(squares.sum())))

    def _warn(self) -> None:
        from sklearn.exceptions import ConvergenceWarning

        why = {
            "max_epochs": f"after {self.result.n_epochs} iterations, all it may take: raise max_epochs",
            "precision": f"after {self.result.n_epochs} iterations, because float64 tells no lower objective apart",
        }[self.result.stop_reason]
        norm = self._gap().gradient_norm
        warnings.warn(
            f"The exact solver ended {why}. Its largest slope is {self.point.largest_slope:.2g} (gradient norm "
            f"{norm:.2g}), where tol = {self.options.tol:g} was asked for.",
            ConvergenceWarning,
            # At the caller of fit, not at the solver.
            stacklevel=6,
        )
