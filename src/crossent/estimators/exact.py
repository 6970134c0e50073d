"""``SoftmaxClassifier``'s ``solver="exact"``: what it can be used with, and the run."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from crossent.errors import invalid_value
from crossent.estimators.epoch_tasks import EpochTasks
from crossent.training.events import Callback
from crossent.training.exact import ExactOptions, minimize_exactly
from crossent.training.examples import Examples

Layers = tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]
DEFAULT_TOL = 1e-5
DEFAULT_ITERATIONS = 1000
# What the exact solver cannot do, with the value that leaves it out.
LEFT_OUT = {
    "hidden_layer_sizes": ((), "a linear model's objective is convex"),
    "l1_ratio": (0, "the objective is to be smooth"),
    "dropout": (0, "the objective is to be the same in each iteration"),
    "early_stopping": (False, "it ends at the minimum"),
    "average": (False, "it ends at the minimum"),
    "checkpoint": (None, "it keeps no state"),
}


def check_exact(model: Any) -> None:
    """Raise for a parameter that has no meaning with ``solver="exact"``."""
    for name, (value, why) in LEFT_OUT.items():
        given = getattr(model, name)
        if (tuple(given) if name == "hidden_layer_sizes" else given) != value:
            raise invalid_value(name, given, f"{value!r} with solver='exact' ({why}), or solver='sgd'")


def never_sees_all_rows(model: Any) -> bool:
    """Whether the model can have ``partial_fit`` and ``fit_stream``; for scikit-learn's ``available_if``."""
    if model.solver == "exact":
        raise AttributeError("solver='exact' goes over all rows again and again: expected solver='sgd'")
    return True


class ExactMixin:
    """The ``fit`` of the exact solver."""

    def _solve(self: Any, examples: Examples, held_out: Examples | None, start: Layers | None, data: Any) -> None:
        options = ExactOptions(
            alpha=self.alpha_,
            tol=DEFAULT_TOL if self.tol is None else float(self.tol),
            max_iter=DEFAULT_ITERATIONS if self.max_epochs == "auto" else int(self.max_epochs),
            center=bool(self.center),
            n_threads=int(self.n_threads),
        )
        if held_out is not None and not self.calibrate:
            raise ValueError(
                "validation is for solver='sgd', or calibrate=True: the exact solver has nothing to choose"
            )
        X, y, sample_weight = data
        tasks = EpochTasks(
            self, options.max_iter, X, y, {} if sample_weight is None else {"sample_weight": sample_weight}
        )
        callbacks: list[Callback] = [*self._listeners(), tasks]
        first = None if start is None else (start[0][0], start[1][0])
        result = minimize_exactly(examples, options, callbacks=callbacks, start=first)
        self.__dict__.pop("_stream", None)
        self._keep(result, held_out)
        tasks.finish()
