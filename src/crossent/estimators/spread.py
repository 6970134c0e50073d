"""``distributed=True``: one model of the rows that all processes of a group hold, each its own part."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from crossent.errors import invalid_value
from crossent.estimators.calibration import fit_temperature
from crossent.estimators.features import square_lengths
from crossent.estimators.parameters import as_generator
from crossent.estimators.spread_checkpoints import SpreadCheckpoints, checksum
from crossent.estimators.truth import class_weights, is_soft, label_vector, read_truth
from crossent.estimators.weights import check_sample_weight, hold_out
from crossent.ranks import Ranks, current_ranks
from crossent.training import Examples
from crossent.training.spread import SpreadProblem

Array = npt.NDArray[Any]
# What may differ from rank to rank.
OWN = ("callbacks", "verbose", "n_threads", "random_state", "checkpoint")


class SpreadMixin:
    """The fit of a ``SoftmaxClassifier`` on rows spread over processes."""

    def _fit_spread(self: Any, X: Any, y: Any, sample_weight: Any, classes: Any, validation: Any) -> Any:
        ranks = current_ranks()
        x, weight = ranks.together(lambda: self._own_rows(X, y, sample_weight))
        self._agree(ranks, x, y, classes)
        start = self._start(classes) if self.warm_start else None
        names = self.classes_ if start else _all_classes(ranks, y, classes)
        truth = ranks.together(lambda: _truth(y, x.shape[0], self._dtype, names))
        self.classes_ = truth.classes
        mass = truth.class_mass(weight)
        ranks.sum(mass)
        weights = ranks.together(lambda: class_weights(self.class_weight, truth.classes, mass))
        examples = Examples(
            x,
            len(truth.classes),
            labels=truth.labels,
            probs=truth.probs,
            sample_weight=weight,
            class_weight=weights,
            label_smoothing=float(self.label_smoothing),
        )
        held_out = None if validation is None else ranks.together(lambda: self._validation(validation))
        rng = self._common_generator(ranks)
        store = None if self.checkpoint is None else self._open_spread_checkpoint(ranks, examples, held_out, start, rng)
        if held_out is None and (self.early_stopping or self.calibrate):
            examples, held_out = _hold_out(ranks, examples, float(self.validation_fraction), rng)
        row_mass = examples.row_mass()
        total = np.array([row_mass.sum(), row_mass @ square_lengths(x) if issparse(x) else 0.0])
        ranks.sum(total)
        if not total[0] > 0:
            raise ValueError("sample_weight is zero in every row of every rank: expected a positive weight somewhere")
        self.alpha_ = self._penalty(total[1] / total[0] if issparse(x) else None, float(total[0]))
        problem = SpreadProblem(
            examples,
            tuple(self.hidden_layer_sizes),
            alpha=self.alpha_ * (1 - self.l1_ratio),
            batch_size=self._batch_rows(),
            center=bool(self.center),
            n_threads=int(self.n_threads),
            ranks=ranks,
        )
        self._train(problem, rng, held_out, store, self._theta(start, problem), (X, y, sample_weight))
        return self

    def _own_rows(self: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array | None]:
        if self.solver == "exact":
            raise invalid_value("solver", self.solver, "'sgd' with distributed=True")
        x = self._features(X, reset=True, least_rows=0)
        weight = None
        if sample_weight is not None:
            weight = check_sample_weight(sample_weight, x.shape[0], may_be_zero=True)
        return x, weight

    def _agree(self: Any, ranks: Ranks, x: Any, y: Any, classes: Any) -> None:
        """Compare what has to be the same on every rank, once, before any rows are."""
        given = {name: repr(value) for name, value in self.parameters().items() if name not in OWN}
        ranks.agree_on(
            {
                **dict(sorted(given.items())),
                "the number of features": x.shape[1],
                "the feature names": list(map(str, getattr(self, "feature_names_in_", []))),
                "the type that X is learnt in": str(self._dtype),
                "whether X is sparse": hasattr(x, "nnz"),
                "whether X is of bytes": str(x.dtype) == "uint8",
                "whether y is probabilities": is_soft(y),
                "classes": repr(None if classes is None else list(classes)),
                "whether there is a checkpoint": self.checkpoint is not None,
                "whether the model is fitted": hasattr(self, "coefs_") and self.warm_start,
            }
        )

    def _common_generator(self: Any, ranks: Ranks) -> np.random.Generator:
        if isinstance(self.random_state, (int, np.integer)):
            ranks.agree("random_state", int(self.random_state))
            return as_generator(self.random_state)
        # The first rank's.
        return np.random.default_rng(ranks.gather_json(int(as_generator(self.random_state).integers(2**62)))[0])

    def _open_spread_checkpoint(
        self: Any, ranks: Ranks, examples: Examples, held_out: Examples | None, start: Any, rng: np.random.Generator
    ) -> SpreadCheckpoints:
        run = self._described()
        run["rows"] = checksum(ranks, examples)
        run["validation"] = "None" if held_out is None else checksum(ranks, held_out)
        run["warm start"] = "None" if start is None else json.dumps([float(array.sum()) for array in start[0]])
        return SpreadCheckpoints(self.checkpoint, run, rng, ranks)


def common_temperature(blocks: Iterable[tuple[slice, Array]], held_out: Examples, n_classes: int) -> float:
    """Return the temperature that suits all ranks' held-out rows, from this rank's logits of its own."""
    ranks = current_ranks()

    def whole(part: Any) -> Array:
        return np.concatenate(ranks.gather(part.toarray() if issparse(part) else part))

    own = np.concatenate([np.zeros((0, n_classes), held_out.dtype), *(logits for _, logits in blocks)])
    logits = whole(own)
    labels, probs = (None if part is None else whole(part) for part in (held_out.labels, held_out.probs))
    return fit_temperature(lambda: [(slice(0, len(logits)), logits)], labels, probs)


def _truth(y: Any, n_rows: int, dtype: Any, names: Any) -> Any:
    given = y if n_rows or is_soft(y) else np.asarray(names)[:0]
    return read_truth(given, n_rows, dtype, classes=names)


def _all_classes(ranks: Ranks, y: Any, classes: Any) -> Any:
    """Return the classes as they were given, or the labels of all ranks in order."""
    if classes is not None or is_soft(y):
        return classes

    def own_names() -> dict[str, Any]:
        names = np.unique(label_vector(np.asarray(y))) if len(y) else np.zeros(0)
        told = {"kind": names.dtype.kind, "names": names.tolist()}
        json.dumps(told)
        return told

    found = [part for part in ranks.gather_json(ranks.together(own_names)) if part["names"]]
    kinds = {part["kind"] for part in found}
    if not found:
        raise ValueError("y is empty on every rank: expected labels")
    if len(kinds) > 1:
        raise ValueError(f"y has labels of the kinds {sorted(kinds)} on different ranks: expected labels of one type")
    dtype = object if "O" in kinds else None
    return np.unique(np.concatenate([np.array(part["names"], dtype) for part in found]))


def _hold_out(ranks: Ranks, examples: Examples, fraction: float, rng: np.random.Generator) -> tuple[Examples, Examples]:
    """Split off the rows that one process with all rows would split off."""
    own = np.ones(examples.n_rows) if examples.sample_weight is None else examples.sample_weight
    parts = ranks.gather(own)
    begin = sum(map(len, parts[: ranks.rank]))
    weight = np.concatenate(parts)
    number = np.arange(len(weight))
    labels = None if examples.labels is None else np.concatenate(ranks.gather(examples.labels))
    everything = Examples(
        number[:, None], examples.n_classes, labels, None if labels is not None else number[:, None], weight
    )
    kept, held = hold_out(everything, fraction, rng)
    assert kept.sample_weight is not None
    here = slice(begin, begin + examples.n_rows)
    out = np.asarray(held.x)[:, 0] - begin
    out = out[(out >= 0) & (out < examples.n_rows)]
    x = examples.x[out]
    own_held = Examples(
        x if hasattr(x, "nnz") else np.ascontiguousarray(x),
        examples.n_classes,
        labels=None if examples.labels is None else examples.labels[out],
        probs=None if examples.probs is None else examples.probs[out],
    )
    return replace(examples, sample_weight=kept.sample_weight[here].copy()), own_held
