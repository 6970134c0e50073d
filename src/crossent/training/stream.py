"""Learning from rows that come block by block and are not seen again, with no last one known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from crossent.training.examples import Examples, Floats
from crossent.training.learning_rate import PROBE_ROWS, Scale, choose_learning_rate, measure, rate_scale
from crossent.training.network import Array, fold_center, layers, unfold_center
from crossent.training.optimizer import Optimizer
from crossent.training.problem import Indices, Problem

WARMUP_STEPS = 8
MAX_RETRIES = 20
# Fewer rows than this say nothing of the step that a network takes.
TRIAL_ROWS = 64
FIRST_RATES = {"schedule-free": 0.25, "adam": 0.001}


@dataclass
class Stream:
    """A model that learns from one block of rows after another.

    The rows are taken minus the mean of all rows so far: when the mean moves, the biases move with it, so that the
    model says the same of a row. The scale of the features, and with it the automatic step, is that of the first 2048
    rows.

    Attributes
    ----------
    hidden_layer_sizes : sequence of int
    name : {"schedule-free", "adam"}
        Both do without an end.
    momentum, alpha, l1, dropout : float
    batch_size, n_threads : int
    learning_rate : float or None
        None lets the data choose.
    center : bool
    rng : Generator
    theta : array or None
        For rows minus the mean, once there is a block; before that for raw rows, where it is to begin from there.
    sizes : tuple of int
        Features, hidden widths, classes; needed with a theta to begin from.
    """

    hidden_layer_sizes: Sequence[int]
    name: Literal["schedule-free", "adam"]
    momentum: float
    alpha: float
    l1: float
    dropout: float
    batch_size: int
    learning_rate: float | None
    center: bool
    n_threads: int
    rng: np.random.Generator
    theta: Array | None = None
    sizes: tuple[int, ...] = ()
    mean: Floats | None = None
    mass: float = 0.0
    rows: int = 0
    rate: float = np.inf
    last_rate: float = 0.0
    halved: float = 1.0
    scale: Scale = field(default_factory=lambda: Scale(0.0, 0.0, 0.0))
    optimizer: Optimizer | None = None

    def learn(self, examples: Examples) -> float | None:
        """Take a step per batch; return the mean log-loss of the batches before their steps, None without a row.

        Warns
        -----
        ConvergenceWarning
            If the steps diverged and were halved.
        """
        with threadpool_limits(1, user_api="blas"):
            mass = examples.row_mass()
            if not mass.any():
                return None
            self._move_mean(examples, mass)
            problem = self._problem(examples)
            if self.theta is None:
                self.theta = problem.initial_parameters(self.rng)
            order = problem.kept[self.rng.permutation(len(problem.kept))]
            if self.rows < PROBE_ROWS:
                self._measure(problem, order)
            self.rows += len(order)
            return self._descend(problem, order)

    def parameters(self) -> tuple[list[Array], list[Array]]:
        """Return copies of the weights and biases, for raw rows."""
        assert self.theta is not None
        folded = self.theta.copy() if self.mean is None else fold_center(self.theta, self.sizes, self.mean)
        return layers(folded, self.sizes)

    def _move_mean(self, examples: Examples, mass: Floats) -> None:
        if not self.center:
            return
        total = float(mass.sum())
        of_block = examples.center(mass).astype(np.float64)
        self.mass += total
        old = self.mean
        self.mean = of_block if old is None else old + (of_block - old) * (total / self.mass)
        if self.theta is None:
            return
        # The model was made for raw rows before the first block, and for rows minus the old mean after it.
        moved = self.mean if old is None else self.mean - old
        points = [self.theta]
        if self.optimizer is not None and self.name == "schedule-free":
            points.append(self.optimizer.state)
        for point in points:
            point[...] = unfold_center(point, self.sizes, moved)

    def _problem(self, examples: Examples, *, center: bool = True) -> Problem:
        problem = Problem(
            examples,
            self.hidden_layer_sizes,
            alpha=self.alpha,
            batch_size=self.batch_size,
            center=self.mean if center and self.mean is not None else False,
            n_threads=self.n_threads,
        )
        self.sizes = problem.layer_sizes
        return problem

    def _measure(self, problem: Problem, order: Indices) -> None:
        assert self.theta is not None
        share = len(order) / (self.rows + len(order))
        new, old = measure(problem, order), self.scale
        if new.largest == 0 and self.center:
            # A single row is its own mean: what there is to go by is the row as it came.
            new = measure(self._problem(problem.examples, center=False), order)
        self.scale = Scale(*(before + (now - before) * share for now, before in zip(new, old, strict=True)))
        if self.optimizer is None:
            if len(problem.layer_sizes) > 2 and self.rows == 0:
                layers(self.theta, problem.layer_sizes)[0][0][...] /= self.scale.root_mean_square
            self.optimizer = Optimizer(
                self.name, self.momentum, l1=self.l1, dropout=self.dropout, seed=int(self.rng.integers(2**62))
            ).start(self.theta)
        self.optimizer.rate_scale = rate_scale(problem, self.scale, self.name)
        self.optimizer.feature_scale = self.scale.root_mean_square

    def _rate(self, problem: Problem, order: Indices) -> float:
        assert self.theta is not None
        assert self.optimizer is not None
        if self.learning_rate is not None:
            return self.learning_rate
        if len(problem.layer_sizes) == 2:
            rate = choose_learning_rate(problem, self.theta, order, self.optimizer, self.scale)
            # The step has no end to fall to: half of what a batch allows, of rows that are few of many more.
            bound = problem.batch_rows / (self.scale.noise * self.scale.greatest_moment)
            return rate if self.name == "adam" else min(rate, bound)
        if self.rows <= PROBE_ROWS:
            rate = FIRST_RATES[self.name]
            if len(order) >= TRIAL_ROWS:
                rate = choose_learning_rate(problem, self.theta, order, self.optimizer, self.scale)
            self.rate = min(self.rate, rate)
        # A later block may come in smaller batches, whose noise grows as the root of how much smaller they are; Adam
        # divides by the noise.
        return self.rate if self.name == "adam" else self.rate * min(1.0, problem.batch_rows / TRIAL_ROWS) ** 0.5

    def _descend(self, problem: Problem, order: Indices) -> float:
        assert self.theta is not None
        assert self.optimizer is not None
        optimizer, start = self.optimizer, self.theta.copy()
        rate = self._rate(problem, order)
        # A block may hold rare classes only: their first loss is that far above the usual one.
        limit = 100 * (1 + np.log(problem.layer_sizes[-1]))
        halvings = 0
        while True:
            steps = optimizer.steps
            warm = np.minimum((steps + 1 + np.arange(problem.n_batches)) / WARMUP_STEPS, 1.0)
            rates = self.halved * rate * warm
            taken, loss = optimizer.descend(problem, self.theta, order, problem.bounds, rates, limit)
            if taken == problem.n_batches and np.isfinite(self.theta).all():
                break
            self.theta[...], optimizer.steps = start, steps
            optimizer.rest(self.theta)
            if halvings == MAX_RETRIES:
                loss = np.nan
                break
            self.halved, halvings = self.halved / 2, halvings + 1
        if halvings:
            from sklearn.exceptions import ConvergenceWarning

            warnings.warn(
                f"The training diverged. The learning rate was halved ({halvings} x) to {self.halved * rate:.3g}, and "
                "the training went on from the last good parameters.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.last_rate = self.halved * rate
        return loss / len(order)
