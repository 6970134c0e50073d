"""Where a fit begins that goes on from another: a warm start, or the checkpoint of a run that was stopped."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from crossent.errors import invalid_value
from crossent.estimators.checkpoints import CheckpointDirectory, digest
from crossent.estimators.survey import Survey
from crossent.training import Examples, Problem
from crossent.training.network import unfold_center

Array = npt.NDArray[Any]
Layers = tuple[list[Array], list[Array]]


class ContinuingMixin:
    """The warm start and the checkpoint of a ``SoftmaxClassifier``."""

    def _start(self: Any, classes: Any) -> Layers | None:
        """Return what a warm start begins from, or None where nothing is fitted."""
        if not hasattr(self, "coefs_"):
            return None
        if classes is not None and not np.array_equal(np.asarray(classes), self.classes_):
            raise invalid_value(
                "classes", classes, f"{self.classes_.tolist()!r}, those of the fit that warm_start continues"
            )
        return self.coefs_, self.intercepts_

    def _theta(self: Any, start: Layers | None, problem: Problem) -> Array | None:
        if start is None:
            return None
        shapes = [weight.shape for weight in start[0]]
        if shapes != list(pairwise(problem.layer_sizes)):
            raise ValueError(
                f"warm_start=True continues layers of shapes {shapes}, but the parameters and data have "
                f"{list(pairwise(problem.layer_sizes))}: expected the same"
            )
        flat = [array.ravel() for layer in zip(*start, strict=True) for array in layer]
        return unfold_center(
            np.concatenate(flat).astype(self._dtype), problem.layer_sizes, problem.center, scale=problem.examples.scale
        )

    def _open_checkpoint(
        self: Any, examples: Examples, held_out: Examples | None, start: Any, rng: np.random.Generator
    ) -> CheckpointDirectory:
        run = self._described()
        run["X"] = digest(examples.x)
        run["y"] = digest(self.classes_, examples.labels, examples.probs)
        run["sample_weight"] = digest(examples.sample_weight)
        run["validation"] = "None" if held_out is None else digest(held_out.x, held_out.labels, held_out.probs)
        run["warm start"] = "None" if start is None else digest(*start[0], *start[1])
        return CheckpointDirectory(self.checkpoint, run, rng)

    def _described(self: Any) -> dict[str, str]:
        """Return the parameters that make up a run, for its checkpoint."""
        without_influence = ("callbacks", "checkpoint", "verbose", "random_state")
        given = self.parameters().items()
        run = {name: repr(value) for name, value in given if name not in without_influence}
        seeded = isinstance(self.random_state, (int, np.integer))
        run["random_state"] = repr(self.random_state) if seeded else type(self.random_state).__name__
        return run

    def _open_stream_checkpoint(
        self: Any, survey: Survey, held_out: Examples | None, rng: np.random.Generator
    ) -> CheckpointDirectory:
        run = self._described()
        run["batches"] = digest(survey.classes, survey.class_mass, survey.mean, np.array(survey.block_rows))
        run["validation"] = "None" if held_out is None else digest(held_out.x, held_out.labels, held_out.probs)
        return CheckpointDirectory(self.checkpoint, run, rng)
