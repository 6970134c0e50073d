"""Steepest descent from a prediction: a metric turns the derivative, a covector, into a vector to step along."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from crossent.explanation.plain import plain
from crossent.simplex import Differential
from crossent.simplex_inputs import Array

METRICS = ("euclidean", "natural", "logit")


@dataclass(frozen=True, eq=False)
class Descent:
    """Steepest descent in one metric.

    Attributes
    ----------
    metric : str
        ``"euclidean"``, ``"natural"`` or ``"logit"``.
    step : float
        The size of the step.
    velocity : ndarray, shape (C,)
        The motion of q as the step begins: a *vector* on the simplex, whose entries sum to 0.
    probs : ndarray, shape (C,)
        Where the step leads: fractions where the velocity has them and the step stays inside.
    loss : float
        The loss there.
    """

    metric: str
    step: float
    velocity: Array
    probs: Array
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        return {
            "type": "vector",
            "step_size": self.step,
            "velocity": plain(self.velocity),
            "prediction": plain(self.probs),
            "loss": self.loss,
        }


def descent(d: Differential, metric: str, step: float) -> Descent:
    """Return the steepest descent from a prediction and the end of one step."""
    path = d.flow(metric, steps=1, step_size=step)
    velocity = d.velocity(metric)
    probs = path.probs[-1]
    if d.exact and metric != "logit" and np.isfinite(velocity.astype(float)).all():
        moved = d.probs + Fraction(str(step)) * velocity
        probs = moved if (moved >= 0).all() else probs
    return Descent(metric, step, velocity, probs, float(path.losses[-1]))
