"""The automatic step: shorter for long runs, and a network's found by trial steps."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from crossent.training import Examples, Problem
from crossent.training.learning_rate import (
    NETWORK_RATE,
    choose_learning_rate,
    feature_factors,
    measure,
    rate_scale,
    share_of_long_run,
)
from crossent.training.optimizer import Optimizer


def network_rate(x, y, n_classes):
    problem = Problem(Examples(x, n_classes, labels=y), (64,), alpha=1e-4, batch_size=128, center=True)
    rng = np.random.default_rng(0)
    theta, order = problem.initial_parameters(rng), problem.kept[rng.permutation(len(x))]
    factors = feature_factors(problem, order)
    scale = measure(problem, order, factors)
    theta[: x.shape[1] * 64] *= np.repeat(factors, 64) / scale.root_mean_square
    optimizer = Optimizer("sgd", 0.9, rate_scale=rate_scale(problem, scale, "sgd"), feature_rate=factors**2)
    return choose_learning_rate(problem, theta, order, optimizer.start(theta), scale)


def test_a_network_takes_longer_steps_where_trial_steps_gain_by_them():
    x, y = load_digits(return_X_y=True)
    assert NETWORK_RATE < network_rate(x, y, 10) <= 4 * NETWORK_RATE


def test_a_network_takes_no_longer_steps_to_learn_labels_that_are_noise():
    rng = np.random.default_rng(0)
    assert network_rate(rng.standard_normal((2000, 20)), rng.integers(0, 10, 2000), 10) <= NETWORK_RATE


def test_the_step_of_a_long_run_falls_with_the_root_of_its_epochs():
    shares = [share_of_long_run(epochs) for epochs in (1, 4, 9, 16, 64, 1000)]
    np.testing.assert_allclose(shares, [1, 1, 2 / 3, 1 / 2, 1 / 4, 1 / 4], rtol=1e-15)


@pytest.mark.parametrize(("schedule", "share"), [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)])
def test_a_run_of_sixteen_epochs_takes_half_the_step_of_one_of_four(schedule, share):
    from crossent import SoftmaxClassifier

    x, y = load_digits(return_X_y=True)
    rates = [
        SoftmaxClassifier(schedule=schedule, max_epochs=epochs, alpha=1e-4, random_state=0).fit(x, y).learning_rate_
        for epochs in (4, 16)
    ]
    assert rates[1] == pytest.approx(share * rates[0], rel=1e-12)
