"""A certificate sees every deviation, beside a multiple of any size, and takes rounding for what it is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from exact_simplex import anywhere, on_the_boundary
from hypothesis import given
from hypothesis import strategies as st

from crossent.family import ReverseKL
from crossent.simplex import Certificate, differential, differential_from_logits

INF = float("inf")
DOG = differential([0.5, 0.49, 0.01], "dog", classes=["dog", "cat", "bird"])


@given(anywhere())
def test_every_representative_is_certified_with_its_multiple(d):
    rules = ["nobody", "everyone", "in proportion", *range(len(d.classes))]
    for mine in rules:
        for other in rules:
            certificate = d.same_as(other, pay=mine)
            assert certificate.same
            scale = float(np.abs(d.ambient).max() + d.mass)
            assert certificate.multiple == pytest.approx(d.multiple(other) - d.multiple(mine), abs=1e-14 * scale)
            assert 0 <= certificate.deviation <= 1e-14 * scale


@given(anywhere(), st.data())
def test_deviation_and_multiple_are_those_of_exact_arithmetic(d, data):
    n = len(d.classes)
    other = data.draw(st.lists(st.floats(-1e30, 1e30), min_size=n, max_size=n))
    certificate = d.same_as(other)
    gaps = [Fraction(u) - Fraction(v) for u, v in zip(other, d.ambient.tolist())]
    assert certificate.deviation == float(max(gaps) - min(gaps))
    assert certificate.multiple == pytest.approx(float((max(gaps) + min(gaps)) / 2), rel=1e-15, abs=1e-320)


@given(anywhere(), st.data())
def test_one_entry_off_by_more_than_rounding_is_refused(d, data):
    c = data.draw(st.integers(0, len(d.classes) - 1))
    other = np.array(d.grad("everyone"))
    other[c] += 1e-9 * (np.abs(other[c]) + np.abs(d.ambient).max())
    assert not d.same_as(other).same
    assert not d.same_as(other)


def test_a_small_entry_is_not_lost_beside_a_large_one():
    assert not DOG.same_as([-2.0, 0.0, 1e-9]).same
    assert DOG.same_as([-2.0, 0.0, 1e-9]).deviation == 1e-9
    wrong = differential([1e-20, 0.5, 0.5], 0)
    assert wrong.same_as(0).same
    assert not wrong.same_as([-1e20, 5.0, 0.0]).same
    assert wrong.same_as([-1e20, 5.0, 0.0]).deviation == 5
    # All entries as large as the multiple: five units are within their rounding.
    assert wrong.same_as([0.0, 1e20, 1e20 + 16384]).same


def test_deviation_is_exact_where_a_mean_would_cancel():
    certificate = DOG.same_as([1e17 - 16, 1e17, 1e17 + 16])
    assert certificate.deviation == 30  # the differences are 1e17 − 14, 1e17 and 1e17 + 16, between floats all three


def test_other_predictions_with_the_same_derivative():
    even = differential([0.5, 0.25, 0.25], 0, classes=DOG.classes)
    assert DOG.same_as(even) == Certificate(True, 0.0, 0.0, 1e-12)
    assert DOG.same_as(even, pay="dog").same
    assert not DOG.same_as(differential([0.4, 0.5, 0.1], 0, classes=DOG.classes)).same
    # Not by the rule in proportion, which depends on the prediction by a multiple of (1, …, 1) only.
    assert DOG.same_as(even, pay="in proportion").same


def test_tolerance_is_the_callers():
    other = [-2.0, 0.0, 1e-9]
    near = differential([0.5, 0.25, 0.25], [1.0, 1.0, 1.0])
    assert near.same_as(near.ambient + np.array([0, 1e-9, 0]), tolerance=1e-6).same
    assert not near.same_as(near.ambient + np.array([0, 1e-9, 0])).same
    assert not DOG.same_as(other, tolerance=0.0).same
    with pytest.raises(ValueError, match=r"tolerance = 1\.0"):
        DOG.same_as(other, tolerance=1.0)


def test_infinite_components_decide_by_the_finite_ones():
    d = differential([0.0, 0.5, 0.5], 0)
    assert d.same_as("nobody") == Certificate(True, 0.0, 0.0, 1e-12)
    assert d.same_as(0) == Certificate(True, INF, 0.0, 1e-12)
    assert d.same_as("everyone").same
    assert d.same_as([-INF, 0.0, 1.0]) == Certificate(False, 0.5, 1.0, 1e-12)
    assert not d.same_as([0.0, 0.0, 0.0]).same
    assert d.same_as([0.0, 0.0, 0.0]).deviation == INF
    assert not d.same_as([INF, -INF, 0.0]).same


def test_infinite_multiples_have_their_sign_or_none():
    d = differential([0.0, 0.5, 0.5], 0)
    assert d.same_as("nobody", pay=0) == Certificate(True, -INF, 0.0, 1e-12)
    assert d.same_as([0.0, -INF, 0.0]) == Certificate(False, 0.0, INF, 1e-12)
    # Every component is the same infinity: there is nothing left to compare.
    excluded = differential([0.5, 0.5, 0.0], 2, loss=ReverseKL())
    assert np.isinf(excluded.ambient).all()
    assert excluded.same_as("nobody") == Certificate(True, 0.0, 0.0, 1e-12)


def test_infinite_components_may_stand_among_fractions():
    d = differential([0.0, 0.5, 0.5], 0)
    assert d.same_as(np.array([-INF, Fraction(0), Fraction(0)], dtype=object)).same


def test_both_components_may_be_off_by_the_tolerance():
    d = differential([0.5, 0.25, 0.25], [0.5, 0.25, 0.25])
    assert d.ambient.tolist() == [-1, -1, -1]
    assert d.same_as([-1 - 0.9e-6, -1 + 0.9e-6, -1], tolerance=1e-6).same
    assert not d.same_as([-1 - 1.1e-6, -1 + 1.1e-6, -1], tolerance=1e-6).same


def test_without_truth_there_is_nothing_to_differ():
    d = differential([0.5, 0.25, 0.25], [0.0, 0.0, 0.0])
    assert d.same_as("everyone") == Certificate(True, 0.0, 0.0, 1e-12)
    assert not d.same_as([0.0, 0.0, 1e-30]).same


@given(on_the_boundary())
def test_on_the_boundary_every_rule_is_certified_and_nothing_is_nan(d):
    for rule in ["everyone", "in proportion", *range(len(d.classes))]:
        certificate = d.same_as(rule)
        assert certificate.same
        assert not np.isnan([certificate.multiple, certificate.deviation]).any()


def test_derivatives_beyond_the_range_are_certified():
    d = differential_from_logits([0.0, -800.0, 1.0], 1)
    assert d.same_as(1).same
    assert d.same_as(1).multiple == INF


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        ([1.0, 2.0], ValueError, r"len\(other\) = 2: expected 3"),
        ([1.0, 2.0, float("nan")], ValueError, r"other\['bird'\] = nan: expected a number"),
        ("cow", ValueError, "pay = 'cow'"),
        (3, ValueError, "pay = 3"),
        (differential([0.5, 0.25, 0.25], 0), ValueError, "the classes of other"),
        (differential([[0.5, 0.25, 0.25]], [0], classes=DOG.classes), ValueError, r"the shape of other = \(1,\)"),
        (["a", "b", "c"], TypeError, "other cannot be read as one number per class"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, error, message):
    with pytest.raises(error, match=message):
        DOG.same_as(other)
