"""The promised accuracy through jax.grad under jit: XLA must neither reorder the sums nor round twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from families import DTYPES, FLOAT16, FLOAT32, FLOAT64, families
from judge import PROMISES, Errors, measure
from oracle import Exact, exact_labels, extended, is_subnormal

jax = pytest.importorskip("jax")

import ml_dtypes  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from crossent.jax import cross_entropy, softmax_cross_entropy_with_integer_labels  # noqa: E402

ROWS = {2: 30, 3: 30, 10: 30, 17: 20, 100: 10, 1000: 4, 100_000: 1}


def rows(z, y):
    return cross_entropy(z, y, reduction="none")


def flushed(got, exact, dtype):
    """Return the exact values; where they are subnormal, the computed 0 or smallest normal: XLA has nothing between."""
    tiny = extended(ml_dtypes.finfo(dtype).tiny)
    got = extended(got)
    return np.where(is_subnormal(exact, dtype) & ((got == 0) | (np.abs(got) <= 2 * tiny)), got, exact)


def has_tiny_entries(exact, dtype):
    """Return whether entries, or the remainders of adding them up, are flushed to 0."""
    entries = np.abs(exact.grad[exact.grad != 0])
    info = ml_dtypes.finfo(dtype)
    return (entries < extended(info.tiny) / extended(info.eps)).any()


@pytest.mark.parametrize(
    ("loss", "dtype"), [*((rows, dtype) for dtype in DTYPES), (softmax_cross_entropy_with_integer_labels, FLOAT32)]
)
def test_loss_and_gradient_keep_the_promise(loss, dtype, rng):
    broken = []
    with jax.enable_x64(dtype == FLOAT64):

        @jax.jit
        def loss_and_grad(z, y):
            losses, back = jax.vjp(lambda z: loss(z, y), z)
            return losses, back(jnp.ones_like(losses))[0]

        for classes, n in ROWS.items():
            for family in families(dtype, n, classes, rng):
                values, grad = map(np.asarray, loss_and_grad(jnp.asarray(family.logits), jnp.asarray(family.label)))
                assert values.dtype == grad.dtype == dtype
                exact = exact_labels(family.logits, family.label)
                promise = PROMISES[dtype]
                if has_tiny_entries(exact, dtype):
                    promise = replace(promise, row_sum=math.inf)
                if dtype != FLOAT16:
                    exact = Exact(flushed(values, exact.loss, dtype), flushed(grad, exact.grad, dtype))
                errors = measure(values, grad, family.label, exact)
                broken += [f"{classes} classes, {family.name}: {failure}" for failure in promise.broken(errors)]
    assert not broken, "\n".join(broken)


def test_jax_itself_breaks_it(rng):
    """So that the measure is known to see a collapse."""
    errors = Errors()
    for family in families(np.dtype(np.float32), 10, 10, rng):
        z, y = jnp.asarray(family.logits), jnp.asarray(family.label)

        def textbook(z, y=y):
            return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=-1)[:, 0]

        values, back = jax.vjp(textbook, z)
        (grad,) = back(jnp.ones_like(values))
        errors |= measure(np.asarray(values), np.asarray(grad), family.label, exact_labels(family.logits, family.label))
    assert errors.false_zeros > 0
