"""Every feature has a learning rate of its own: the steps are those of features on one scale, in any unit."""

import numpy as np
import pytest

from crossent import SoftmaxClassifier
from crossent.training import Examples, Problem
from crossent.training.learning_rate import feature_factors
from crossent.training.network import layers
from crossent.training.optimizer import Optimizer


def problem_of(x, y, hidden=(), **options):
    options = {"alpha": 0.0, "batch_size": 16, "center": True} | options
    return Problem(Examples(x, 3, labels=y), hidden, **options)


@pytest.fixture
def rows(rng):
    x = rng.normal(size=(96, 5)) * [1, 10, 0.1, 3, 0.02] + [0, 5, 1, -2, 0]
    return x, rng.integers(3, size=96)


def descend(problem, theta, order, name, feature_rate, **options):
    optimizer = Optimizer(name, 0.9, feature_rate=feature_rate, rate_scale=np.ones(2 * (len(problem.layer_sizes) - 1)))
    for key, value in options.items():
        setattr(optimizer, key, value)
    theta = theta.copy()
    optimizer.start(theta)
    rates = np.linspace(0.02, 0.001, problem.n_batches)
    taken, _ = optimizer.descend(problem, theta, order, problem.bounds, rates, np.inf)
    assert taken == problem.n_batches
    return theta


@pytest.mark.parametrize("name", ["sgd", "schedule-free"])
@pytest.mark.parametrize("hidden", [(), (7,)])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_steps_are_those_on_scaled_features(rows, rng, name, hidden, n_threads):
    x, y = rows
    factors = rng.uniform(0.2, 5, x.shape[1])
    plain, scaled = (problem_of(data, y, hidden, n_threads=n_threads) for data in (x, x * factors))
    order = rng.permutation(len(x))
    theta = plain.initial_parameters(rng)
    start = theta.copy()
    layers(start, plain.layer_sizes)[0][0][...] *= factors[:, None]
    mine = descend(plain, start, order, name, factors**2)
    other = descend(scaled, theta, order, name, None)
    layers(other, plain.layer_sizes)[0][0][...] *= factors[:, None]
    np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-11)
    assert not np.allclose(mine, start)


def test_adam_has_the_factor_itself(rows, rng):
    x, y = rows
    factors = rng.uniform(0.5, 2, x.shape[1])
    plain, scaled = problem_of(x, y), problem_of(x * factors, y)
    order, theta = rng.permutation(len(x)), plain.initial_parameters(rng)
    mine = descend(plain, theta, order, "adam", factors)
    other = descend(scaled, theta, order, "adam", None)
    layers(other, plain.layer_sizes)[0][0][...] *= factors[:, None]
    np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["sgd", "schedule-free"])
def test_the_penalties_steps_have_it_too(rows, rng, name):
    x, y = rows
    factors = rng.uniform(0.5, 2, x.shape[1])
    problem = problem_of(x, y, alpha=0.3, batch_size=len(x))
    order, theta = np.arange(len(x)), problem.initial_parameters(rng)
    layers(theta, problem.layer_sizes)[0][0][...] = rng.normal(size=(x.shape[1], 3))
    l1 = 0.05
    stepped = descend(problem, theta, order, name, factors**2, l1=l1)
    _, grad = problem.gradient(theta)
    weight, slope = (layers(v, problem.layer_sizes)[0][0] for v in (theta, grad))
    rate = 0.02 * factors[:, None] ** 2
    threshold = rate * l1 / (1 - 0.9 if name == "sgd" else 1)
    moved = weight - rate * (slope + 0.3 * weight)
    expected = np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)
    np.testing.assert_allclose(layers(stepped, problem.layer_sizes)[0][0], expected, rtol=1e-10, atol=1e-12)


def test_factors_are_for_dense_rows_and_one_per_feature(rows):
    import scipy.sparse as sp

    x, y = rows
    with pytest.raises(ValueError, match="one per feature"):
        descend(
            problem_of(x, y),
            problem_of(x, y).initial_parameters(np.random.default_rng(0)),
            np.arange(96),
            "sgd",
            np.ones(4),
        )
    sparse = problem_of(sp.csr_matrix(x), y)
    with pytest.raises(ValueError, match="dense"):
        descend(sparse, sparse.initial_parameters(np.random.default_rng(0)), np.arange(96), "sgd", np.ones(5))
    assert feature_factors(sparse, sparse.kept) is None


def test_scales_undo_units(rows):
    x, y = rows
    units = np.array([1e-3, 1.0, 255.0, 1e6, 2.0])
    one, other = (feature_factors(problem_of(data, y), np.arange(96)) for data in (x, x * units))
    np.testing.assert_allclose(one, other * units, rtol=1e-9)
    np.testing.assert_allclose(one * x.std(axis=0), 1, atol=0.3)


def test_a_feature_that_is_constant_on_the_measured_rows_takes_the_least_factor(rows):
    x, y = rows
    x[:, 2] = 4.0
    scale = feature_factors(problem_of(x, y), np.arange(96))
    assert scale[2] == scale.min()
    x[:] = 1.0
    assert feature_factors(problem_of(x, y), np.arange(96)).tolist() == [1.0] * 5


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_a_model_does_not_hang_on_its_features_units(hidden):
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    units = 10.0 ** np.arange(-3, 10)[: x.shape[1]]
    models = [
        SoftmaxClassifier(hidden, alpha=0, max_epochs=30, random_state=0, dtype=np.float64).fit(x * unit, y)
        for unit in (1.0, units)
    ]
    np.testing.assert_allclose(
        models[0].predict_log_proba(x), models[1].predict_log_proba(x * units), rtol=1e-5, atol=1e-7
    )
    assert models[0].score(x, y) > 0.98
