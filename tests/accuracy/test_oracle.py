"""The two oracles agree, so that one mistake cannot hide in both."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from families import DTYPES, families
from oracle import (
    Extended,
    disagreement,
    exact_distributions,
    exact_labels,
    is_false_zero,
    mpmath_label_row,
    mpmath_row,
    to_extended,
    ulp,
    ulp_error,
)

# A thousandth of a float64 ulp would be 1e-19; the promise is stated in whole ulp.
AGREEMENT = 4e-18


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [2, 3, 40])
def test_extended_precision_agrees_with_60_digits_on_labels(dtype, classes, rng):
    for family in families(dtype, 2, classes, rng):
        exact = exact_labels(family.logits, family.label)
        for row, label in enumerate(family.label):
            loss, grad = mpmath_label_row(family.logits[row], int(label))
            assert disagreement(exact.loss[row], [loss]) < AGREEMENT, family.name
            assert disagreement(exact.grad[row], grad) < AGREEMENT, family.name


@pytest.mark.parametrize("classes", [1, 2, 30])
def test_extended_precision_agrees_with_60_digits_on_distributions(classes, rng):
    for scale in (0.1, 1.0, 30.0):
        z = scale * rng.standard_normal((3, classes))
        p = rng.random((3, classes)) * rng.integers(0, 2, (3, classes))
        exact = exact_distributions(z, p)
        for row in range(3):
            loss, grad = mpmath_row(z[row], p[row].tolist())
            assert abs(exact.loss[row] - to_extended([loss])[0]) <= AGREEMENT * abs(exact.loss[row]) + 1e-50
            # Near q = p the difference is small against its terms: the error is measured on their scale.
            assert np.all(np.abs(exact.grad[row] - to_extended(grad)) <= AGREEMENT * max(p[row].sum(), 1e-300))


def test_a_long_row_agrees_with_60_digits(rng):
    z = rng.standard_normal((1, 20_000)).astype(np.float32)
    exact = exact_labels(z, np.array([7]))
    loss, grad = mpmath_label_row(z[0], 7)
    assert disagreement(exact.loss[0], [loss]) < AGREEMENT
    assert disagreement(exact.grad[0], grad) < AGREEMENT


def test_60_digits_are_60_digits_of_the_result():
    loss, grad = mpmath_label_row(np.array([100.0, 0.0]), 0)
    with mpmath.workdps(80):
        assert abs(loss / mpmath.log1p(mpmath.exp(-100)) - 1) < mpmath.mpf(10) ** -59
        assert abs(grad[0] * (1 + mpmath.exp(100)) + 1) < mpmath.mpf(10) ** -59


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_ulp_is_the_spacing_of_the_dtype(dtype):
    info = np.finfo(dtype)
    values = np.array([1.0, 1.5, 0.75, info.tiny, info.smallest_subnormal, info.max / 2], dtype=dtype)
    expected = np.spacing(values).astype(Extended)
    assert np.array_equal(ulp(values.astype(Extended), dtype), expected)


def test_ulp_error_measures_distance_and_refuses_nan():
    one = np.array([Extended(1)] * 4)
    got = np.array([1.0, 1.0 + 2.0**-23, np.nan, np.inf], dtype=np.float32)
    assert ulp_error(got, one, np.float32).tolist() == [0.0, 1.0, np.inf, np.inf]
    assert ulp_error(np.float32(np.inf), np.array(Extended(1e39)), np.float32) == 0.0
    assert ulp_error(np.float32(0.0), np.array(Extended(2.0**-149)), np.float32) == 1.0


def test_a_zero_is_false_only_where_the_dtype_holds_the_value():
    exact = np.array([Extended(0), Extended(2.0**-150), Extended(2.0**-149), Extended(1)])
    assert is_false_zero(np.zeros(4, np.float32), exact, np.float32).tolist() == [False, False, True, True]
