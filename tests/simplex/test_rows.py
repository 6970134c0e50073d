"""A batch is its rows: every number of every row is that of the row alone, and errors name the row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crossent
from crossent.simplex import Differential, differential, differential_from_logits

RULES = ["nobody", "everyone", "in proportion", 0, 1]
METRICS = ["euclidean", "natural", "logit", 0, 1]


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Predictions on the simplex, its boundary included, and truths of any mass."""
    n, c = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    size = n * c
    shares = np.array(draw(st.lists(st.integers(0, 6), min_size=size, max_size=size)), dtype=float).reshape(n, c)
    truth = np.array(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)), dtype=float).reshape(n, c)
    shares[:, draw(st.integers(0, c - 1))] += 1
    return shares / shares.sum(axis=1, keepdims=True), truth


def numbers(d: Differential) -> dict[str, object]:
    found: dict[str, object] = {
        "loss": d.loss,
        "mass": d.mass,
        "logits": d.logits,
        "euclidean": d.euclidean,
        "fisher": d.fisher,
        "hessian_logits": d.hessian_logits,
        "transfer": d.transfer(0, 1),
        "along": d.along([1, -1] + [0] * (len(d.classes) - 2)),
        "path": np.moveaxis(d.flow("euclidean", 3, 0.1).probs, 0, -1),
        "losses": np.moveaxis(d.flow("exponentiated", 3, 0.1).losses, 0, -1),
    }
    for rule in RULES:
        found[f"grad {rule}"], found[f"multiple {rule}"] = d.grad(rule), d.multiple(rule)
        found[f"hessian {rule}"] = d.hessian(rule)
        certificate = d.same_as(rule)
        found[f"same {rule}"], found[f"deviation {rule}"] = certificate.same, certificate.deviation
    return {**found, **{f"velocity {metric}": d.velocity(metric) for metric in METRICS}}


@given(batches())
def test_a_row_of_a_batch_has_the_numbers_it_has_alone(batch):
    probs, truth = batch
    together = numbers(differential(probs, truth))
    for i, (q, p) in enumerate(zip(probs, truth)):
        for name, value in numbers(differential(q, p)).items():
            assert np.array_equal(np.asarray(together[name])[i], value), name
            assert not np.isnan(value).any(), name


@given(st.lists(st.lists(st.floats(-800, 800), min_size=3, max_size=3), min_size=1, max_size=4), st.data())
def test_rows_of_logits_are_the_rows_alone(logits, data):
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(logits), max_size=len(logits)))
    together = differential_from_logits(logits, labels)
    for i, (z, y) in enumerate(zip(logits, labels)):
        alone = differential_from_logits(z, y)
        assert together.loss[i] == alone.loss
        for name in ("probs", "log_probs", "logits", "ambient"):
            assert np.array_equal(getattr(together, name)[i], getattr(alone, name))


def test_any_number_of_leading_axes():
    q = np.full((2, 3, 4), 0.25)
    d = differential(q, np.array([[0, 1, 2], [3, 0, 1]]))
    assert d.loss.shape == d.shape == (2, 3)
    assert d.hessian(1).shape == (2, 3, 4, 4)
    assert d.velocity(2).shape == (2, 3, 4)
    assert d[1, 0].logits.tolist() == [0.25, 0.25, 0.25, -0.75]
    assert d[1].loss.shape == (3,)
    assert d.flow("logit", 2, 0.5).probs.shape == (3, 2, 3, 4)
    assert [len(d), len(list(d))] == [2, 2]


def test_an_empty_batch_has_no_losses():
    d = differential(np.zeros((0, 3)), np.zeros(0, dtype=int))
    assert d.loss.shape == (0,)
    assert d.grad(0).shape == d.euclidean.shape == (0, 3)
    assert bool(d.same_as(0))


def test_one_prediction_gives_plain_numbers():
    d = differential([0.5, 0.25, 0.25], 0)
    certificate = d.same_as("everyone")
    values = [d.loss, d.mass, d.given_sum, d.transfer(0, 1), d.along([1, -1, 0]), d.multiple(0), d.multiple("nobody")]
    assert {type(v) for v in [*values, certificate.multiple, certificate.deviation]} == {float}
    assert type(certificate.same) is bool
    row = differential([[0.5, 0.5]], [0])[0]
    assert {type(v) for v in (row.loss, row.given_sum)} == {float}
    with pytest.raises(TypeError, match="no rows"):
        d[0]
    with pytest.raises(TypeError, match="no length"):
        len(d)


def test_labels_of_rows_may_be_names():
    d = differential([[0.5, 0.5], [0.25, 0.75]], ["dog", "cat"], classes=["dog", "cat"])
    assert d.truth.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize("soft", [False, True])
def test_loss_and_gradient_are_those_of_cross_entropy(smoothing, weight, soft):
    logits = np.random.default_rng(3).normal(0, 5, (20, 3))
    target = np.random.default_rng(4).dirichlet(np.ones(3), 20) if soft else np.arange(20) % 3
    options = {"weight": weight, "label_smoothing": smoothing}
    loss, grad = crossent.cross_entropy_and_grad(logits, target, reduction="none", **options)
    d = differential_from_logits(logits, target, **options)
    np.testing.assert_allclose(d.loss, loss, rtol=1e-14)
    np.testing.assert_allclose(d.logits, grad, rtol=1e-13, atol=1e-15)
    e = differential(d.probs, target, **options)
    np.testing.assert_allclose(e.loss, loss, rtol=1e-13)


@pytest.mark.parametrize(
    ("probs", "target", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.6]], [0, 1], r"the sum of probs\[1\] = 1\.1: expected 1 within"),
        ([[0.5, 0.5], [1.5, -0.5]], [0, 1], r"probs\[1, 'b'\] = -0\.5: expected a finite number >= 0"),
        ([[0.5, 0.5], [0.5, np.nan]], [0, 1], r"probs\[1, 'b'\] = nan"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 2], r"target\[1\] = 2: expected a class index in \[0, 2\)"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, -1], r"target\[1\] = -1"),
        ([[0.5, 0.5], [0.5, 0.5]], ["a", "c"], r"target\[1\] = 'c': expected one of 'a', 'b'"),
        ([[0.5, 0.5], [0.5, 0.5]], [[1, 0], [1, -1]], r"target\[1, 'b'\] = -1"),
        ([[0.5, 0.5], [0.5, 0.5]], [[1, 0], [1e308, 1e308]], r"the sum of target\[1\] = inf"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 1, 0], r"target\.shape = \(3,\): expected \(2,\), one label per row"),
        ([[0.5, 0.5], [0.5, 0.5]], 0, r"target\.shape = \(\)"),
    ],
)
def test_a_bad_row_is_named(probs, target, message):
    with pytest.raises(ValueError, match=message):
        differential(probs, target, classes=["a", "b"])


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ({"0": 1}, {}, "target is a dict: expected labels of shape"),
        ([0.5, 1.0], {}, r"target\[0\] is a float64: expected a class index"),
        ([[1], [1, 2]], {}, "target cannot be read as labels or masses"),
        ([0, 1], {"label_smoothing": "a"}, "label_smoothing is a str"),
    ],
)
def test_a_target_of_the_wrong_kind_is_refused(target, options, message):
    with pytest.raises(TypeError, match=message):
        differential([[0.5, 0.5], [0.5, 0.5]], target, **options)


def test_bad_rows_of_logits_and_directions_are_named():
    with pytest.raises(ValueError, match=r"the largest of logits\[1\] = -inf"):
        differential_from_logits([[0, 0], [-np.inf, -np.inf]], [0, 0])
    d = differential([[0.5, 0.5], [0.5, 0.5]], [0, 1])
    with pytest.raises(ValueError, match=r"the sum of v\[1\] = 0\.5: expected 0"):
        d.along([[1, -1], [1, -0.5]])
    with pytest.raises(ValueError, match=r"v\.shape = \(3,\): expected \(2, 2\)"):
        d.along([1, -1, 0])
    with pytest.raises(ValueError, match=r"label_smoothing = 1\.5: expected a number in \[0, 1\]"):
        differential([0.5, 0.5], 0, label_smoothing=1.5)
