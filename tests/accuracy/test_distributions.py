"""Distributions against the exact values of the given logits, truth and weights.

The bounds, with u = half an ulp of 1 in the computing type (float32 for 16-bit storage) and P = Σ p_c:

* Loss: 15 ulp. Every term p_c (lse - z_c) is non-negative. p_c = w_c ((1 - ε) base_c + ε / C) carries
  four roundings, lse - z_c the 4 ulp (8u) that are promised for a label's loss, their product one, and the
  sum of the terms two where it is blocked and accumulated in float64: 15u together, and an ulp is at least u.
  Sixteen-bit storage leaves only its one rounding.
* Gradient: 24u (P·q_c + p_c). P·q_c carries 16u (q_c: the promised 8 ulp), 4u (P) and 2u; p_c carries 4u.
  An entry that is computed as minus the sum of the others has the errors of all of them; where that is
  done for an entry with P·q_c + p_c ≥ P, they sum to no more.
  Below the normal range rounding is absolute: (1 + P) times the smallest number comes on top, for exp(z_c - m),
  which is then multiplied by P, and for the entry itself. Sixteen-bit storage adds its one rounding.
"""

from __future__ import annotations

import ml_dtypes
import mpmath
import numpy as np
import pytest
from families import BFLOAT16, DTYPES, FLOAT16, FLOAT32, FLOAT64
from oracle import exact_distributions, extended, mpmath_row, to_extended, ulp, ulp_error

import crossent
from crossent import reference

LOSS_ULP = {FLOAT32: 15.0, FLOAT64: 15.0, FLOAT16: 1.0, BFLOAT16: 1.0}
GRAD_U = 24.0


def unit(dtype):
    """Half an ulp of 1 in the computing type."""
    return float(ml_dtypes.finfo(FLOAT64 if dtype == FLOAT64 else FLOAT32).eps) / 2


def truths(rows, classes, rng):
    """Yield truths of every kind: confident and flat, sparse, with mass other than 1, near one-hot."""
    flat = rng.random((rows, classes))
    yield "flat", flat / flat.sum(axis=1, keepdims=True)
    peaked = rng.dirichlet(np.full(min(classes, 1000), 0.05), rows)
    yield "peaked", np.pad(peaked, ((0, 0), (0, classes - peaked.shape[1])))
    yield "sparse", np.where(rng.random((rows, classes)) < 0.8, 0.0, flat)
    yield "any mass", flat / flat.sum(axis=1, keepdims=True) * 10.0 ** rng.integers(-3, 4, (rows, 1))
    near = np.full((rows, classes), 1e-4 / classes)
    near[np.arange(rows), rng.integers(0, classes, rows)] = 1.0
    yield "near one-hot", near


def logits(kind, truth, rng):
    z = rng.standard_normal(truth.shape)
    return {
        "normal": lambda: z,
        "wide": lambda: 30.0 * z,
        "offset": lambda: 1e4 + z,
        # The truth's own logits: every entry of the gradient is close to 0.
        "fitted": lambda: np.where(truth > 0, np.log(np.where(truth > 0, truth, 1.0)), -30.0),
    }[kind]()


def check(result, z, truth, dtype):
    assert result.grad.dtype == result.loss.dtype == dtype
    exact = exact_distributions(z, truth)
    loss, grad = result
    error = ulp_error(loss, exact.loss, dtype)
    assert error.max() <= LOSS_ULP[dtype], f"loss off by {error.max():.3g} ulp"
    p = extended(truth)
    bound = GRAD_U * unit(dtype) * (np.abs(exact.grad + p) + p)
    least = float(ml_dtypes.finfo(FLOAT64 if dtype == FLOAT64 else FLOAT32).smallest_subnormal)
    bound += (1 + p.sum(axis=-1, keepdims=True)) * extended(least)
    bound += ulp(exact.grad, dtype) * (dtype.itemsize == 2)
    excess = np.abs(extended(grad) - exact.grad) / bound
    assert excess.max() <= 1, f"gradient off by {float(excess.max()):.3g} of its bound"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["normal", "wide", "offset", "fitted"])
@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_distributions_are_within_their_bound(level, dtype, kind, classes, rng):
    for name, truth in truths(6, classes, rng):
        p = truth.astype(dtype)
        z = logits(kind, truth, rng).astype(dtype)
        try:
            check(crossent.cross_entropy_and_grad(z, p, reduction="none"), z, p, dtype)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("kind", ["normal", "wide", "offset", "fitted"])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_reference_is_within_the_bound_of_distributions(kind, classes, rng):
    for _, truth in truths(6, classes, rng):
        z = logits(kind, truth, rng)
        check(reference.cross_entropy_and_grad(z, truth, reduction="none"), z, truth, FLOAT64)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_a_long_distribution_is_within_its_bound(level, dtype, rng):
    for _, truth in truths(1, 100_000, rng):
        z, p = logits("normal", truth, rng).astype(dtype), truth.astype(dtype)
        check(crossent.cross_entropy_and_grad(z, p, reduction="none"), z, p, dtype)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_smoothed_labels_are_within_the_bound_of_distributions(level, dtype, smoothing, weighted, rng):
    classes = 30
    z = (10.0 * rng.standard_normal((8, classes))).astype(dtype)
    label = rng.integers(0, classes, 8)
    weight = (rng.random(classes) + 0.1).astype(dtype) if weighted else np.ones(classes, dtype)
    base = (1 - extended(smoothing)) * np.eye(classes)[label] + extended(smoothing) / classes
    options = {"weight": weight} if weighted else {}
    result = crossent.cross_entropy_and_grad(z, label, label_smoothing=smoothing, reduction="none", **options)
    check(result, z, extended(weight) * base, dtype)


def test_a_fully_weighted_row_agrees_with_60_digits(level, rng):
    z = rng.standard_normal((1, 12))
    p, weight, s, eps = rng.random((1, 12)), rng.random(12), 0.37, 0.25
    result = crossent.cross_entropy_and_grad(
        z, p, weight=weight, sample_weight=[s], label_smoothing=eps, reduction="none"
    )
    with mpmath.workdps(60):
        s, eps = mpmath.mpf(s), mpmath.mpf(eps)
        base = [(1 - eps) * mpmath.mpf(p_c) + eps / 12 for p_c in p[0].tolist()]
        truth = [s * mpmath.mpf(w_c) * base_c for w_c, base_c in zip(weight.tolist(), base, strict=True)]
    loss, grad = mpmath_row(z[0], truth)
    assert ulp_error(result.loss[0], to_extended([loss])[0], FLOAT64) <= 8
    assert np.allclose(result.grad[0], to_extended(grad).astype(float), rtol=0, atol=1e-15)
