"""The promised accuracy for labels, against the exact values of the given logits."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from families import DTYPES, FLOAT32, FLOAT64, Family, families
from judge import PROMISES, measure
from oracle import Exact, exact_labels, ulp_error

import crossent
from crossent import reference

# Rows fewer as classes grow: what differs there is the length of the sums, not the kind of row.
ROWS = {2: 40, 3: 40, 10: 40, 17: 20, 100: 20, 1000: 6, 100_000: 1}


@functools.cache
def judged(dtype: str, classes: int, seed: int) -> list[tuple[Family, Exact]]:
    rng = np.random.default_rng(seed)
    rows = families(np.dtype(dtype), ROWS[classes], classes, rng)
    return [(family, exact_labels(family.logits, family.label)) for family in rows]


def check(loss_and_grad, promise, dtype, classes, seed):
    broken = []
    for family, exact in judged(str(dtype), classes, seed):
        loss, grad = loss_and_grad(family.logits, family.label)
        errors = measure(loss, grad, family.label, exact)
        broken += [f"{family.name}: {failure}" for failure in promise.broken(errors)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", ROWS)
def test_loss_and_gradient_keep_the_promise(level, dtype, classes, seed):
    def loss_and_grad(z, y):
        return crossent.cross_entropy_and_grad(z, y, reduction="none")

    check(loss_and_grad, PROMISES[dtype], dtype, classes, seed)


@pytest.mark.parametrize("classes", ROWS)
def test_the_reference_keeps_the_promise(classes, seed):
    def loss_and_grad(z, y):
        return reference.cross_entropy_and_grad(z, y, reduction="none")

    # The target entry is the sum of entries that are each rounded to the smallest number, up or down.
    promise = replace(PROMISES[FLOAT64], subnormal=max(64.0, classes**0.5))
    check(loss_and_grad, promise, FLOAT64, classes, seed)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("limit", [0.0, 512.0, 4096.0])  # up to here logits are reduced by a multiple of ln 2
@pytest.mark.parametrize("sign", [1, -1])
def test_the_promise_holds_around_the_limits_of_the_reference(level, dtype, limit, sign, rng):
    around = np.concatenate([limit + np.linspace(-1.0, 1.0, 9), np.nextafter(dtype.type(limit), [-np.inf, np.inf])])
    reach = 130.0 if dtype == FLOAT32 else 800.0
    z = sign * around[:, None] - reach * rng.random((len(around), 60)) ** 4
    z[:, 7] = sign * around
    z[::2, 11] = 1e-5  # not below the largest where that is negative: a rival far ahead of all others
    z = z.astype(dtype)
    label = rng.integers(0, 60, len(z))
    loss, grad = crossent.cross_entropy_and_grad(z, label, reduction="none")
    assert not PROMISES[dtype].broken(measure(loss, grad, label, exact_labels(z, label)))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_a_rival_halfway_between_multiples_of_ln_2(level, dtype, rng):
    halfway = (np.arange(-700 if dtype == FLOAT32 else -5900, 701, 3) + 0.5) * np.log(2.0)
    rival = np.concatenate([np.nextafter(halfway, -np.inf), halfway, np.nextafter(halfway, np.inf)]).astype(dtype)
    z = rival[:, None] - dtype.type(2000) * (1 + rng.random((len(rival), 60)).astype(dtype))
    label = rng.integers(1, 60, len(z))
    z[:, 0] = rival  # the label's logit and all others are too far below to count beside it
    for target in (label, np.zeros_like(label)):
        loss, grad = crossent.cross_entropy_and_grad(z, target, reduction="none")
        assert not PROMISES[dtype].broken(measure(loss, grad, target, exact_labels(z, target)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_loss_alone_is_the_loss_with_gradient(level, dtype, seed):
    for family, _ in judged(str(dtype), 100, seed):
        loss = crossent.cross_entropy(family.logits, family.label, reduction="none")
        with_grad = crossent.cross_entropy_and_grad(family.logits, family.label, reduction="none").loss
        assert np.array_equal(loss, with_grad), family.name


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("kind", ["normal", "equal", "near", "right by 30", "wide"])
def test_a_million_classes_keep_the_promise(dtype, kind, rng):
    z = {
        "normal": lambda: rng.standard_normal(1_000_000),
        "equal": lambda: np.full(1_000_000, 0.5),
        "near": lambda: 1.0 + 1e-3 * rng.standard_normal(1_000_000),
        "right by 30": lambda: np.where(np.arange(1_000_000) == 77, 30.0, -0.1 * rng.random(1_000_000)),
        "wide": lambda: 20.0 * rng.standard_normal(1_000_000),
    }[kind]()[None].astype(dtype)
    label = np.array([77])
    exact = exact_labels(z, label)
    for level in crossent.cpu_levels():
        with crossent.cpu.use_level(level):
            loss, grad = crossent.cross_entropy_and_grad(z, label, reduction="none")
        assert not PROMISES[dtype].broken(measure(loss, grad, label, exact)), level


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_the_mean_of_many_rows_is_as_accurate_as_one(level, dtype, rng):
    z = (3.0 * rng.standard_normal((5000, 10))).astype(dtype)
    label = rng.integers(0, 10, 5000)
    exact = exact_labels(z, label)
    total = exact.loss.sum()
    promise = PROMISES[dtype]
    assert ulp_error(crossent.cross_entropy(z, label, reduction="sum"), total, dtype) <= promise.loss
    loss, grad = crossent.cross_entropy_and_grad(z, label)
    assert ulp_error(loss, total / 5000, dtype) <= promise.loss
    # One more rounding: the division by the number of rows.
    assert ulp_error(grad, exact.grad / 5000, dtype).max() <= promise.others + 1
