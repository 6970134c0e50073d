"""What an optimizer is, and what it keeps from step to step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from crossent.training.network import Array
from crossent.training.problem import Indices, Problem

Name = Literal["sgd", "adam", "schedule-free"]
# The native code's numbers, and how many vectors each keeps.
KINDS: dict[Name, int] = {"sgd": 0, "adam": 1, "schedule-free": 2}
STATE_VECTORS: dict[Name, int] = {"sgd": 1, "adam": 2, "schedule-free": 1}


@dataclass
class Optimizer:
    """An optimizer under way.

    Attributes
    ----------
    name : {"sgd", "adam", "schedule-free"}
    momentum : float
        Of "sgd"; the first beta of "adam" and the beta of "schedule-free".
    nesterov : bool
    l1 : float
        Weight of the penalty's sum of absolute values; the squares' is the problem's ``alpha``.
    dropout : float
        Share of the hidden units that each row leaves out.
    seed : int
        Of the dropout.
    rate_scale : (2 * layers,) array
        Factors of the learning rate for W0, b0, W1, b1, ...
    average_from : int or None
        The step (counted from 0) from which on the parameters are averaged.
    state : (parameters * vectors,) array
        Velocities, or moments, or the points that schedule-free averages.
    average : (parameters,) array or None
    steps, averaged, rested : int
        Steps taken; how many of them are in the average; and how many there were when the state was last emptied.
    weight : float
        Summed squares of the learning rates so far.
    """

    name: Name
    momentum: float
    nesterov: bool = False
    l1: float = 0.0
    dropout: float = 0.0
    seed: int = 0
    rate_scale: npt.NDArray[np.float64] = field(default_factory=lambda: np.ones(2))
    average_from: int | None = None
    state: Array = field(default_factory=lambda: np.zeros(0))
    average: Array | None = None
    steps: int = 0
    averaged: int = 0
    rested: int = 0
    weight: float = 0.0

    def start(self, theta: Array) -> Self:
        """Begin at theta."""
        self.steps, self.averaged = 0, 0
        self.average = None if self.average_from is None else np.zeros_like(theta)
        self.state = np.zeros(STATE_VECTORS[self.name] * theta.size, theta.dtype)
        self.rest(theta)
        return self

    def rest(self, theta: Array) -> None:
        """Forget where the steps were heading: from theta on it is as if they began there."""
        if self.name == "schedule-free":
            self.state[...] = theta
            self.weight = 0.0
        else:
            self.state[...] = 0
        self.rested = self.steps

    def descend(
        self,
        problem: Problem,
        theta: Array,
        order: Indices,
        bounds: Indices,
        rates: npt.NDArray[np.float64],
        loss_limit: float,
    ) -> tuple[int, float]:
        """Take a step per batch; return the steps taken and the sum of the batches' mean losses."""
        split = len(rates)
        if self.average_from is not None and 0 < self.average_from - self.steps < split:
            split = self.average_from - self.steps
        taken, loss = self._descend(problem, theta, order, bounds[: split + 1], rates[:split], loss_limit)
        if split < len(rates) and taken == split:
            more, more_loss = self._descend(problem, theta, order, bounds[split:], rates[split:], loss_limit)
            taken, loss = taken + more, loss + more_loss
        return taken, loss

    def _descend(
        self,
        problem: Problem,
        theta: Array,
        order: Indices,
        bounds: Indices,
        rates: npt.NDArray[np.float64],
        loss_limit: float,
    ) -> tuple[int, float]:
        averages = self.average is not None and self.average_from is not None and self.steps >= self.average_from
        steps, loss = problem.descend(
            theta,
            self.state,
            order,
            bounds,
            rates,
            momentum=self.momentum,
            nesterov=self.nesterov,
            loss_limit=loss_limit,
            optimizer=KINDS[self.name],
            rate_scale=self.rate_scale,
            average=self.average if averages else None,
            l1=self.l1,
            dropout=self.dropout,
            seed=self.seed,
            # Adam corrects for moments that began at zero by the steps since then.
            steps_before=self.steps - (self.rested if self.name == "adam" else 0),
            weight_before=self.weight,
            averaged_before=self.averaged,
        )
        self.steps += steps
        self.averaged += steps if averages else 0
        self.weight += float(rates[:steps] @ rates[:steps])
        return steps, loss
