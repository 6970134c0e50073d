"""Two ways to say the same thing train the same model."""

import numpy as np
import pytest

from crossent.estimators import SoftmaxClassifier

N, D, C = 30, 5, 3


@pytest.fixture
def data():
    rng = np.random.default_rng(11)
    x = rng.normal(size=(N, D)) + 2
    return x, rng.integers(C, size=N), rng.dirichlet(np.ones(C), size=N), rng.integers(1, 4, size=N)


def trained(x, y, weight=None, *, hidden=(), **parameters):
    # One batch per epoch, so that the order of the rows does not matter but in rounding; few epochs, so that
    # rounding is not blown up by the hidden layer.
    parameters = {"batch_size": 10_000, "max_epochs": 60, "random_state": 0, "alpha": 1e-2} | parameters
    return SoftmaxClassifier(hidden, **parameters).fit(x, y, weight)


def assert_same(one, other):
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


HIDDEN = pytest.mark.parametrize("hidden", [(), (8,)])


@HIDDEN
def test_soft_labels_equal_repeated_weighted_rows(data, hidden):
    x, _, probs, _ = data
    soft = trained(x, probs, hidden=hidden)
    repeated = trained(np.repeat(x, C, axis=0), np.tile(np.arange(C), N), probs.ravel(), hidden=hidden)
    assert_same(soft, repeated)


@HIDDEN
def test_certain_soft_labels_equal_labels(data, hidden):
    x, y, _, _ = data
    assert_same(trained(x, np.eye(C)[y], hidden=hidden), trained(x, y, hidden=hidden))


@HIDDEN
def test_sample_weight_equals_repetition(data, hidden):
    x, y, _, times = data
    assert_same(
        trained(x, y, times, hidden=hidden), trained(np.repeat(x, times, axis=0), np.repeat(y, times), hidden=hidden)
    )


@HIDDEN
def test_weight_zero_equals_removal(data, hidden):
    x, y, _, times = data
    weight = np.where(times == 2, 0, times)
    kept = weight > 0
    assert_same(trained(x, y, weight, hidden=hidden), trained(x[kept], y[kept], weight[kept], hidden=hidden))


def test_weight_zero_equals_removal_in_small_batches(data):
    x, y, _, times = data
    weight = np.where(times == 2, 0.0, 1.0)
    kept = weight > 0
    assert_same(trained(x, y, weight, batch_size=7), trained(x[kept], y[kept], batch_size=7))


@HIDDEN
def test_class_weight_equals_sample_weight(data, hidden):
    x, y, _, _ = data
    class_weight = {0: 2.0, 1: 0.5, 2: 3.0}
    weight = np.vectorize(class_weight.get)(y)
    assert_same(trained(x, y, hidden=hidden, class_weight=class_weight), trained(x, y, weight, hidden=hidden))


def test_class_weight_on_soft_labels_equals_it_on_repeated_rows(data):
    x, _, probs, _ = data
    class_weight = {0: 2.0, 1: 0.5, 2: 3.0}
    soft = trained(x, probs, class_weight=class_weight)
    repeated = trained(np.repeat(x, C, axis=0), np.tile(np.arange(C), N), probs.ravel(), class_weight=class_weight)
    assert_same(soft, repeated)


def test_balanced_gives_every_class_the_same_weight(data):
    x, y, _, times = data
    summed = np.bincount(y, times)
    weight = times * (summed.sum() / (C * summed))[y]
    assert_same(trained(x, y, times, class_weight="balanced"), trained(x, y, weight))


def test_label_smoothing_equals_smoothed_probabilities(data):
    x, y, _, _ = data
    smoothed = 0.7 * np.eye(C)[y] + 0.3 / C
    assert_same(trained(x, y, label_smoothing=0.3), trained(x, smoothed))


def test_scaling_all_weights_changes_nothing(data):
    x, y, _, times = data
    assert_same(trained(x, y, times), trained(x, y, times * 1000.0))
