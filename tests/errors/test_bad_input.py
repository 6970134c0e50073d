"""Bad input is refused with the argument, its value and what was expected."""

from __future__ import annotations

import re

import numpy as np
import pytest

import crossent

Z = np.zeros((4, 10))
Y = np.array([0, 1, 2, 3])
P = np.full((4, 10), 0.1)


def with_entry(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def readonly(array):
    array = array.copy()
    array.flags.writeable = False
    return array


CASES = {
    "label too large": (Z, with_entry(Y, 2, 12), {}, ValueError, "target[2] = 12 is outside [0, 10)"),
    "label equal to C": (Z, with_entry(Y, 3, 10), {}, ValueError, "target[3] = 10 is outside [0, 10)"),
    "negative label": (Z, with_entry(Y, 0, -1), {}, ValueError, "target[0] = -1 is outside [0, 10)"),
    "the default ignored label when another is": (
        Z, with_entry(Y, 1, -100), {"ignore_index": 3}, ValueError, "target[1] = -100 is outside [0, 10)",
    ),
    "huge unsigned label": (
        Z, np.array([0, 1, 2, 2**64 - 1], np.uint64), {}, ValueError,
        "target[3] = 18446744073709551615 is outside [0, 10)",
    ),
    "unsigned label that wraps to the ignored one": (
        Z, np.array([0, 1, 2, 2**64 - 100], np.uint64), {}, ValueError, "target[3] = 18446744073709551516 is outside",
    ),
    "label of a row in a grid": (
        np.zeros((4, 6, 10)), with_entry(np.zeros((4, 6), int), (3, 5), 10), {}, ValueError,
        "target[3, 5] = 10 is outside [0, 10)",
    ),
    "label of a single row": (np.zeros(10), np.array(11), {}, ValueError, "target = 11 is outside [0, 10)"),
    "label with the class axis first": (
        np.zeros((10, 4)), with_entry(Y, 2, 12), {"axis": 0}, ValueError, "target[2] = 12 is outside [0, 10)",
    ),
    "too few labels": (Z, Y[:3], {}, ValueError, "target has shape (3,): expected (4,)"),
    "labels in a column": (Z, Y[:, None], {}, ValueError, "target has shape (4, 1): expected (4,)"),
    "labels of the logits' shape": (Z, np.zeros((4, 10), int), {}, ValueError, "target has shape (4, 10)"),
    "distribution of another shape": (Z, P[:, :9], {}, ValueError, "target has shape (4, 9): expected (4, 10)"),
    "distribution of the wrong axis": (Z, P.T, {}, ValueError, "target has shape (10, 4): expected (4, 10)"),
    "float labels": (Z, Y.astype(float), {}, ValueError, "target has shape (4,): expected (4, 10)"),
    "bool target": (Z, Y > 1, {}, TypeError, "target has dtype bool"),
    "complex target": (Z, P.astype(complex), {}, TypeError, "target has dtype complex128"),
    "object target": (Z, Y.astype(object), {}, TypeError, "target"),
    "text target": (Z, Y.astype(str), {}, TypeError, "target"),
    "integer logits": (Z.astype(int), Y, {}, TypeError, "logits has dtype int64"),
    "bool logits": (Z > 0, Y, {}, TypeError, "logits has dtype bool"),
    "complex logits": (Z.astype(complex), Y, {}, TypeError, "logits has dtype complex128"),
    "object logits": (Z.astype(object), Y, {}, TypeError, "logits"),
    "extended logits": (Z.astype(np.longdouble), Y, {}, TypeError, "logits has dtype"),
    "logits without a class axis": (np.array(1.0), np.array(0), {}, ValueError, "logits has shape ()"),
    "no classes": (np.zeros((4, 0)), Y, {}, ValueError, "logits has shape (4, 0)"),
    "no classes and no rows": (np.zeros((0, 0)), Y[:0], {}, ValueError, "logits has shape (0, 0)"),
    "negative weight": (Z, Y, {"weight": with_entry(np.ones(10), 3, -0.5)}, ValueError, "weight[3] = -0.5"),
    "NaN weight": (Z, Y, {"weight": with_entry(np.ones(10), 9, np.nan)}, ValueError, "weight[9] = nan"),
    "infinite weight": (Z, Y, {"weight": with_entry(np.ones(10), 0, np.inf)}, ValueError, "weight[0] = inf"),
    "too few weights": (Z, Y, {"weight": np.ones(9)}, ValueError, "weight has shape (9,): expected (10,)"),
    "a number as weights": (Z, Y, {"weight": 2.0}, ValueError, "weight has shape (): expected (10,)"),
    "complex weight": (Z, Y, {"weight": np.ones(10, complex)}, TypeError, "weight has dtype complex128"),
    "bool weight": (Z, Y, {"weight": np.ones(10, bool)}, TypeError, "weight has dtype bool"),
    "negative sample weight": (
        Z, Y, {"sample_weight": with_entry(np.ones(4), 1, -1.0)}, ValueError, "sample_weight[1] = -1",
    ),
    "NaN sample weight": (
        Z, Y, {"sample_weight": with_entry(np.ones(4), 2, np.nan)}, ValueError, "sample_weight[2] = nan",
    ),
    "sample weight of another shape": (
        Z, Y, {"sample_weight": np.ones((4, 1))}, ValueError, "sample_weight has shape (4, 1): expected (4,)",
    ),
    "smoothing above 1": (Z, Y, {"label_smoothing": 1.5}, ValueError, "label_smoothing = 1.5: expected"),
    "negative smoothing": (Z, Y, {"label_smoothing": -0.1}, ValueError, "label_smoothing = -0.1: expected"),
    "NaN smoothing": (Z, Y, {"label_smoothing": np.nan}, ValueError, "label_smoothing = nan: expected"),
    "text smoothing": (Z, Y, {"label_smoothing": "0.1"}, TypeError, "label_smoothing"),
    "bool smoothing": (Z, Y, {"label_smoothing": True}, TypeError, "label_smoothing is a bool: expected a real number"),
    "negative entry": (Z, with_entry(P, (2, 7), -1e-9), {}, ValueError, "target, row 2, class 7 = -1e-09"),
    "negative entry after a class without truth": (
        Z, with_entry(with_entry(P, (0, 0), 0.0), (2, 7), -1e-9), {}, ValueError, "target, row 2, class 7 = -1e-09",
    ),
    "class 0 ignored among distributions": (
        Z, P, {"ignore_index": 0}, ValueError, "ignore_index = 0: expected a negative number with distributions",
    ),
    "NaN entry": (Z, with_entry(P, (1, 0), np.nan), {}, ValueError, "target, row 1, class 0 = nan"),
    "infinite entry": (Z, with_entry(P, (3, 9), np.inf), {}, ValueError, "target, row 3, class 9 = inf"),
    "unknown reduction": (
        Z, Y, {"reduction": "batchmean"}, ValueError, "reduction = 'batchmean': expected one of 'mean', 'sum', 'none'",
    ),
    "reduction None": (Z, Y, {"reduction": None}, ValueError, "reduction = None: expected one of"),
    "normalizer 0": (Z, Y, {"normalizer": 0.0}, ValueError, "normalizer = 0.0: expected"),
    "negative normalizer": (Z, Y, {"normalizer": -2}, ValueError, "normalizer = -2: expected"),
    "NaN normalizer": (Z, Y, {"normalizer": np.nan}, ValueError, "normalizer = nan: expected"),
    "infinite normalizer": (Z, Y, {"normalizer": np.inf}, ValueError, "normalizer = inf: expected"),
    "NaN z_loss": (Z, Y, {"z_loss": np.nan}, ValueError, "z_loss = nan: expected"),
    "negative z_loss": (Z, Y, {"z_loss": -1.0}, ValueError, "z_loss = -1.0: expected"),
    "axis too large": (Z, Y, {"axis": 2}, ValueError, "axis = 2: expected"),
    "axis too small": (Z, Y, {"axis": -3}, ValueError, "axis = -3: expected"),
    "fractional axis": (Z, Y, {"axis": 1.0}, TypeError, "axis"),
    "fractional ignore_index": (Z, Y, {"ignore_index": 1.5}, TypeError, "ignore_index"),
    "no threads": (Z, Y, {"n_threads": 0}, ValueError, "n_threads = 0: expected"),
    "fractional threads": (Z, Y, {"n_threads": 1.5}, TypeError, "n_threads"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("function", ["cross_entropy", "cross_entropy_and_grad"])
def test_bad_input_is_refused(case, function):
    logits, target, options, error, message = CASES[case]
    with pytest.raises(error, match=re.escape(message)):
        getattr(crossent, function)(logits, target, **options)


OUT = {
    "another shape": (np.empty((4, 9)), ValueError, "out has shape (4, 9)"),
    "another dtype": (np.empty((4, 10), np.float32), ValueError, "float32"),
    "read-only": (readonly(Z), ValueError, "out is read-only"),
    "a list": ([[0.0] * 10] * 4, TypeError, "out is a list: expected a NumPy array"),
}


@pytest.mark.parametrize("case", OUT)
def test_an_unfit_out_is_refused(case):
    out, error, message = OUT[case]
    with pytest.raises(error, match=re.escape(message)):
        crossent.cross_entropy_and_grad(Z, Y, out=out)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_normalizer_without_a_mean_is_refused(reduction):
    with pytest.raises(ValueError, match=re.escape("normalizer = 2.0: expected")):
        crossent.cross_entropy(Z, Y, normalizer=2.0, reduction=reduction)


def test_a_refused_call_leaves_its_out_alone():
    out = np.full_like(Z, 7.0)
    with pytest.raises(ValueError, match="outside"):
        crossent.cross_entropy_and_grad(Z, with_entry(Y, 3, 10), out=out)
    assert np.all(out == 7.0)


def test_a_masked_array_is_refused():
    with pytest.raises(TypeError, match="logits is a MaskedArray"):
        crossent.cross_entropy(np.ma.masked_array(Z, Z == 0), Y)


PROBABILITIES = {
    "negative": (with_entry(P, (1, 2), -0.1), "probs, row 1, class 2 = -0.1: expected"),
    "above 1": (with_entry(P, (1, 2), 1.1), "probs, row 1, class 2 = 1.1: expected"),
    "NaN": (with_entry(P, (1, 2), np.nan), "probs, row 1, class 2 = nan: expected"),
    "logits": (with_entry(P, (3, 0), 0.5), "probs, row 3 sums to 1.4"),
}


@pytest.mark.parametrize("case", PROBABILITIES)
def test_what_is_no_probability_is_refused(case):
    probs, message = PROBABILITIES[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        crossent.cross_entropy_from_probs(probs, Y)
    with pytest.raises(ValueError, match=re.escape(message)):
        crossent.entropy(probs)
    with pytest.raises(ValueError, match=re.escape(message.replace("probs", "q"))):
        crossent.kl_divergence(P, probs)


def test_probabilities_and_labels_must_fit():
    with pytest.raises(ValueError, match=re.escape("target[2] = 12 is outside [0, 10)")):
        crossent.cross_entropy_from_probs(P, with_entry(Y, 2, 12))
    with pytest.raises(ValueError, match=re.escape("target has shape (3,): expected (4,)")):
        crossent.cross_entropy_from_probs(P, Y[:3])
    with pytest.raises(ValueError, match=re.escape("q has shape (3, 10): expected (4, 10)")):
        crossent.kl_divergence(P, P[:3])
