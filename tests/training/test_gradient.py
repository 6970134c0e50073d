"""The gradient of the whole network is the derivative of its loss."""

from itertools import pairwise

import numpy as np
import pytest

from crossent.training import Examples, Problem
from crossent.training.network import native_rows

N, D, C = 23, 6, 4


def examples(kind, dtype=np.float64):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(N, D)).astype(dtype)
    labels = rng.integers(C, size=N)
    probs = rng.dirichlet(np.ones(C), size=N).astype(dtype)
    weight, class_weight = rng.uniform(0.1, 3, size=N), rng.uniform(0.2, 2, size=C)
    return {
        "labels": Examples(x, C, labels=labels),
        "weighted labels": Examples(x, C, labels=labels, sample_weight=weight, class_weight=class_weight),
        "smoothed labels": Examples(
            x, C, labels=labels, sample_weight=weight, class_weight=class_weight, label_smoothing=0.2
        ),
        "soft labels": Examples(x, C, probs=probs),
        "weighted soft labels": Examples(
            x, C, probs=probs, sample_weight=weight, class_weight=class_weight, label_smoothing=0.1
        ),
    }[kind]


def problem(kind, hidden, dtype=np.float64, center=True):
    return Problem(examples(kind, dtype), hidden, alpha=0.0, batch_size=N, center=center)


def parameters(of, dtype=np.float64):
    size = len(of.initial_parameters(np.random.default_rng(0)))
    return np.random.default_rng(4).normal(size=size).astype(dtype) * dtype(0.5)


def loss_by_formula(data, theta, sizes, center):
    """Written from the definition, sharing nothing with the engine."""
    out, at = data.x - (0 if center is None else center), 0
    for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight = theta[at : at + inputs * outputs].reshape(inputs, outputs)
        at += inputs * outputs
        out = (np.maximum(out, 0) if depth else out) @ weight + theta[at : at + outputs]
        at += outputs
    base = np.eye(C)[data.labels] if data.probs is None else data.probs
    truth = (1 - data.label_smoothing) * base + data.label_smoothing / C
    truth = truth * (1 if data.class_weight is None else data.class_weight)
    truth = truth * (1 if data.sample_weight is None else data.sample_weight[:, np.newaxis])
    log_q = out - np.log(np.exp(out).sum(axis=1, keepdims=True))
    return -(truth * log_q).sum() / truth.sum()


KINDS = ["labels", "weighted labels", "smoothed labels", "soft labels", "weighted soft labels"]


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_formulas(kind, hidden, center):
    network = problem(kind, hidden, center=center)
    theta = parameters(network)
    loss, _ = network.gradient(theta)
    expected = loss_by_formula(network.examples, theta, network.layer_sizes, network.center)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert network.loss(theta, network.kept) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_central_difference(kind, hidden):
    network = problem(kind, hidden)
    theta = parameters(network)
    _, grad = network.gradient(theta)
    step = 1e-5
    for at in range(len(theta)):
        up, down = theta.copy(), theta.copy()
        up[at] += step
        down[at] -= step
        slope = (network.loss(up, network.kept) - network.loss(down, network.kept)) / (2 * step)
        assert grad[at] == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_gradient_is_the_double_one(kind):
    double = problem(kind, (5, 3))
    single = problem(kind, (5, 3), np.float32)
    theta = parameters(single, np.float32)
    _, expected = double.gradient(theta.astype(np.float64))
    _, grad = single.gradient(theta)
    assert grad.dtype == np.float32
    np.testing.assert_allclose(grad, expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_step_is_the_textbooks(nesterov):
    """PyTorch's SGD: v = m v + g + alpha w, then w -= lr v, or lr (g + alpha w + m v) with Nesterov's momentum."""
    data, momentum, alpha, rates = examples("labels"), 0.8, 0.3, np.array([0.2, 0.1, 0.4])
    network = Problem(data, (5,), alpha=alpha, batch_size=8, center=False)
    whole = Problem(data, (5,), alpha=alpha, batch_size=N, center=False)
    theta = parameters(network)
    expected, expected_velocity = theta.copy(), np.zeros_like(theta)
    penalised = np.ones(len(theta))
    penalised[D * 5 : D * 5 + 5] = penalised[-C:] = 0
    order = np.random.default_rng(1).permutation(N)
    for rate, begin, end in zip(rates, network.bounds[:-1], network.bounds[1:]):
        batch = order[begin:end]
        grad = np.empty_like(theta)
        whole._network.gradient(whole._rows, batch, expected, 1 / len(batch), grad)
        grad += alpha * expected * penalised
        expected_velocity = momentum * expected_velocity + grad
        expected = expected - rate * (grad + momentum * expected_velocity if nesterov else expected_velocity)
    velocity = np.zeros_like(theta)
    steps, _ = network.descend(theta, velocity, order, network.bounds, rates, momentum=momentum, nesterov=nesterov)
    assert steps == 3
    np.testing.assert_allclose(theta, expected, rtol=1e-12)
    np.testing.assert_allclose(velocity, expected_velocity, rtol=1e-12)


def test_batches_differ_by_at_most_one_row():
    rng = np.random.default_rng(0)
    data = Examples(rng.normal(size=(257, 3)), 2, labels=rng.integers(2, size=257))
    sizes = np.diff(Problem(data, (), alpha=0, batch_size=128, center=True).bounds)
    assert sizes.sum() == 257
    assert sizes.max() - sizes.min() <= 1
    assert sizes.max() <= 128


def test_native_code_refuses_what_would_touch_foreign_memory():
    network = problem("labels", (5,))
    theta = parameters(network)
    grad = np.empty_like(theta)
    with pytest.raises(ValueError, match="order must name rows that there are"):
        network._network.gradient(network._rows, np.array([N]), theta, 1.0, grad)
    with pytest.raises(ValueError, match="theta must have an entry per parameter"):
        network._network.gradient(network._rows, network.kept, theta[:-1], 1.0, grad)
    with pytest.raises(ValueError, match="labels must lie in"):
        native_rows(Examples(np.zeros((2, 1)), 2, labels=np.array([0, 2])))
