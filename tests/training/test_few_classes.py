"""The kernels for few classes, which read dense rows where they lie, give the definition's loss, gradient and steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

import crossent
from crossent.training import Examples, Problem

N = 37


def loss_and_gradient(x, labels, theta, classes):
    """Written from the definition in float64."""
    features = x.shape[1]
    weight, bias = theta[: features * classes].reshape(features, classes), theta[features * classes :]
    logits = x @ weight + bias
    logits -= logits.max(axis=1, keepdims=True)
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.eye(classes)[labels]
    bar = (q - truth) / len(x)
    return -np.log(q[np.arange(len(x)), labels]).mean(), np.append(x.T @ bar, bar.sum(axis=0))


@given(
    features=st.integers(1, 150),
    classes=st.integers(2, 30),
    form=st.sampled_from(["float32", "float64", "uint8"]),
    center=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_loss_and_gradient_are_the_definitions(level, features, classes, form, center, seed):
    rng = np.random.default_rng(seed)
    if form == "uint8":
        x, values = (bytes_ := rng.integers(256, size=(N, features)).astype(np.uint8)), bytes_ / 255
    else:
        x = rng.normal(size=(N, features)).astype(form) + x_offset(form)
        values = x.astype(np.float64)
    labels = rng.integers(classes, size=N)
    examples = Examples(x, classes, labels=labels, byte_scale=1 / 255)
    problem = Problem(examples, (), alpha=0, batch_size=N, center=center)
    theta = (rng.normal(size=(features + 1) * classes) / np.sqrt(features)).astype(examples.dtype)
    loss, grad = problem.gradient(theta)
    assert crossent.cpu_level() == level
    mean = 0 if problem.center is None else problem.center.astype(np.float64)
    expected_loss, expected = loss_and_gradient(values - mean, labels, theta.astype(np.float64), classes)
    tight = form == "float64"
    assert loss == pytest.approx(expected_loss, rel=1e-12 if tight else 1e-5)
    np.testing.assert_allclose(grad, expected, rtol=1e-9 if tight else 1e-3, atol=1e-13 if tight else 1e-6)


def x_offset(form):
    return np.asarray(2.0, dtype=form)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 64, 65, 130])
def test_batches_of_any_size_read_no_foreign_row(n_rows):
    """Rows behind the batch are asked for ahead of time, but never used."""
    rng = np.random.default_rng(n_rows)
    x, labels = rng.normal(size=(130, 33)), rng.integers(3, size=130)
    problem = Problem(Examples(x, 3, labels=labels), (), alpha=0, batch_size=130, center=False)
    theta = rng.normal(size=34 * 3)
    order = rng.permutation(130)[:n_rows]
    expected = theta - 0.5 * loss_and_gradient(x[order], labels[order], theta, 3)[1]
    steps, _ = problem.descend(theta, np.zeros_like(theta), order, np.array([0, n_rows]), np.array([0.5]), momentum=0.0)
    assert steps == 1
    np.testing.assert_allclose(theta, expected, rtol=1e-11)


@given(seed=st.integers(0, 2**32 - 1), units=st.integers(2, 150), share=st.floats(0, 0.5))
def test_sparse_steps_are_the_dense_ones_at_every_level(level, seed, units, share):
    rng = np.random.default_rng(seed)
    x = np.where(rng.uniform(size=(N, 25)) < share, rng.normal(size=(N, 25)), 0)
    labels = rng.integers(units, size=N)
    results = []
    for form in (x, csr_array(x)):
        problem = Problem(Examples(form, units, labels=labels), (), alpha=0.1, batch_size=5, center=True)
        theta, velocity = np.zeros(26 * units), np.full(26 * units, 0.01)
        rates = np.linspace(0.5, 0.1, problem.n_batches)
        problem.descend(theta, velocity, problem.kept, problem.bounds, rates, momentum=0.9)
        results.append((theta, velocity))
    assert crossent.cpu_level() == level
    for dense, sparse in zip(*results, strict=True):
        np.testing.assert_allclose(sparse, dense, rtol=1e-9, atol=1e-12)
