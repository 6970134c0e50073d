"""The automatic step: shorter for long runs, and a network's found by trial steps."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits

from crossent.training import Examples, Problem
from crossent.training.learning_rate import (
    NETWORK_RATE,
    choose_learning_rate,
    feature_factors,
    measure,
    rate_scale,
    share_of_run,
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
    shares = [share_of_run(epochs) for epochs in (1, 4, 9, 16, 64, 1000)]
    np.testing.assert_allclose(shares, [2, 1, 2 / 3, 1 / 2, 1 / 4, 1 / 4], rtol=1e-15)


@pytest.mark.parametrize(("schedule", "share"), [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)])
def test_a_run_of_sixteen_epochs_takes_half_the_step_of_one_of_four(schedule, share):
    from crossent import SoftmaxClassifier

    x, y = load_digits(return_X_y=True)
    rates = [
        SoftmaxClassifier(schedule=schedule, max_epochs=epochs, alpha=1e-4, random_state=0).fit(x, y).learning_rate_
        for epochs in (4, 16)
    ]
    assert rates[1] == pytest.approx(share * rates[0], rel=1e-12)


@pytest.mark.parametrize(("levels", "share"), [(50, 2.0), (1, 1.0)])
def test_a_run_of_one_epoch_takes_twice_the_step_where_the_noise_bounds_it(levels, share):
    from crossent import SoftmaxClassifier

    # Rows of a category share little, and a batch of them is noisy; of few features it says what all rows do.
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2000, 3)), rng.integers(0, 3, 2000)
    if levels > 1:
        x = np.eye(levels)[rng.integers(0, levels, 2000)]
    rates = [SoftmaxClassifier(max_epochs=n, alpha=1e-4, random_state=0).fit(x, y).learning_rate_ for n in (4, 1)]
    assert rates[1] == pytest.approx(share * rates[0], rel=1e-12)


KINDS_OF_TRUTH = {
    "labels": lambda labels, probs: {"labels": labels},
    "probabilities": lambda labels, probs: {"probs": probs},
    "sparse probabilities": lambda labels, probs: {"probs": csr_matrix(probs)},
}


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS_OF_TRUTH)
def test_the_squared_mass_of_a_row_is_that_of_its_truth_in_every_class(kind, smoothing, rng):
    labels, probs = rng.integers(0, 4, 50), rng.dirichlet(np.full(4, 0.3), 50)
    weight, class_weight = rng.uniform(0, 3, 50), np.array([0.5, 1.0, 2.0, 0.0])
    examples = Examples(
        rng.standard_normal((50, 3)),
        4,
        **KINDS_OF_TRUTH[kind](labels, probs),
        sample_weight=weight,
        class_weight=class_weight,
        label_smoothing=smoothing,
    )
    base = np.eye(4)[labels] if kind == "labels" else probs
    truth = weight[:, None] * class_weight * ((1 - smoothing) * base + smoothing / 4)
    np.testing.assert_allclose(examples.square_mass(), (truth**2).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(examples.row_mass(), truth.sum(axis=1), rtol=1e-13)


def test_an_epoch_goes_as_far_with_shared_truths_as_with_a_row_for_every_share(rng):
    x, labels = rng.standard_normal((400, 30)), rng.integers(0, 3, 400)
    probs = np.eye(3)[labels]
    probs[::2] = [0.5, 0.3, 0.2]
    row, label = map(np.ascontiguousarray, np.nonzero(probs))

    def noise_of_a_row(examples):
        problem = Problem(examples, (), alpha=0.0, batch_size=32, center=True)
        # A step is as long as the noise allows, and an epoch has as many steps as there are rows.
        return measure(problem, problem.kept).noise / examples.n_rows

    shared = noise_of_a_row(Examples(x, 3, probs=probs))
    repeated = noise_of_a_row(Examples(x[row], 3, labels=label, sample_weight=probs[row, label]))
    certain = noise_of_a_row(Examples(x, 3, labels=labels))
    assert shared == pytest.approx(repeated, rel=1e-10)
    assert shared / certain == pytest.approx((1 + 0.5**2 + 0.3**2 + 0.2**2) / 2, rel=1e-10)
