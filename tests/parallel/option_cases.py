"""Every combination of the loss's options, and its value and gradients in one process, by the specification."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from crossent import reference

DTYPES = ("float64", "float32")
CLASSES = (1, 2, 7, 101)
TARGETS = ("labels", "distributions")
REDUCTIONS = ("mean", "sum", "none")


class Case(NamedTuple):
    """One combination; what is not a dimension of the product is drawn from the case's number."""

    number: int
    dtype: str
    classes: int
    target: str
    weighted: bool
    smoothing: float
    z_loss: float
    reduction: str
    capped: bool

    @property
    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.number)


def cases() -> list[Case]:
    product = itertools.product(
        DTYPES, CLASSES, TARGETS, (False, True), (0.0, 0.1), (0.0, 0.01), REDUCTIONS, (False, True)
    )
    return [Case(number, *values) for number, values in enumerate(product)]


class Problem(NamedTuple):
    """The arrays and options of a case."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    target: np.ndarray
    class_weight: np.ndarray | None
    sample_weight: np.ndarray | None
    options: dict
    max_memory: int


def problem_of(case: Case) -> Problem:
    rng, c = case.generator, case.classes
    n, d = int(rng.integers(0, 13)), int(rng.integers(1, 6))
    # float32 inputs, whatever the case computes in, so that both dtypes are given the same numbers.
    scale = rng.choice([0.5, 1.0, 20.0])
    x = (rng.normal(size=(n, d)) * scale).astype(np.float32)
    weight = rng.normal(size=(c, d)).astype(np.float32)
    bias = rng.normal(size=c).astype(np.float32) if rng.random() < 0.7 else None
    if case.target == "labels":
        target = rng.integers(0, c, n)
        target[rng.random(n) < rng.choice([0.0, 0.4, 1.0], p=[0.45, 0.5, 0.05])] = -100
    else:
        target = rng.dirichlet(np.ones(c), n).astype(np.float32)
        if rng.random() < 0.3:
            target = np.eye(c, dtype=np.float32)[rng.integers(0, c, n)]
        target *= rng.choice([1.0, 0.5])
    class_weight = None
    if case.weighted:
        class_weight = rng.uniform(0.0, 2.0, c).astype(np.float32)
        class_weight[rng.random(c) < 0.2] = 0.0
    sample_weight = None
    if rng.random() < 0.5:
        sample_weight = rng.uniform(0.0, 2.0, n).astype(np.float32)
        sample_weight[rng.random(n) < 0.2] = 0.0
    options = {"label_smoothing": case.smoothing, "z_loss": case.z_loss, "reduction": case.reduction}
    if case.reduction == "mean" and rng.random() < 0.3:
        options["normalizer"] = float(rng.uniform(1.0, 9.0))
    if case.capped:
        options |= {"logit_scale": 1.5, "softcap": 30.0}
    max_memory = int(rng.choice([64, 500, 1 << 26]))
    return Problem(x, weight, bias, target, class_weight, sample_weight, options, max_memory)


def expected(problem: Problem, loss_bar: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return loss, and the gradients of x, weight and bias for a cotangent of the loss, in float64; and their sizes.

    The size of a sum is that of its terms' magnitudes: where they cancel, rounding is relative to it.
    """
    options = dict(problem.options)
    scale, cap = options.pop("logit_scale", 1.0), options.pop("softcap", None)
    x, weight = problem.x.astype(np.float64), problem.weight.astype(np.float64)
    raw = x @ weight.T if problem.bias is None else x @ weight.T + problem.bias.astype(np.float64)
    z = scale * raw
    slope = np.full_like(z, scale)
    if cap is not None:
        # 1 - tanh² cancels, in any precision.
        slope /= np.cosh(z / cap) ** 2
        z = cap * np.tanh(z / cap)
    loss, grad = reference.cross_entropy_and_grad(
        z, problem.target, weight=problem.class_weight, sample_weight=problem.sample_weight, **options
    )
    bar = loss_bar[:, None] if options["reduction"] == "none" else loss_bar
    grad = grad * bar * slope
    values = np.asarray(loss), grad @ weight, grad.T @ x, grad.sum(axis=0)
    size = np.abs(grad)
    return values, (np.abs(loss), size @ np.abs(weight), size.T @ np.abs(x), size.sum(axis=0))


def shares(case: Case, size: int) -> list[slice]:
    """Return each rank's classes: uneven, some of them empty."""
    cuts = np.sort(np.random.default_rng((case.number, size)).integers(0, case.classes + 1, size - 1))
    ends = [0, *(int(cut) for cut in cuts), case.classes]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]
