"""The gradient with rounded small entries: its expectation, its variance, its entries, and what stays exact."""

import numpy as np
import pytest

import crossent
from crossent.head.truth import head_truth

THRESHOLD = 1 / 16


def logits_gradient(n, c, z, labels, threshold, seed):
    """Return the exact gradient of the logits and the thinned one, by the kernels."""
    truth = head_truth(labels, (n,), c, z)
    chunk = truth.chunk(slice(0, n), z.dtype, groups=1, z_loss=0.0, scale=1.0, softcap=None, n_threads=1)
    tile = z.copy()
    chunk.survey(tile, 0, 0)
    chunk.conclude()
    chunk.gradient(tile, 0, None)
    exact = tile.copy()
    chunk.thin(tile, 0, threshold, seed, np.arange(n))
    return exact, tile


def test_ten_thousand_draws_average_to_the_exact_gradient_with_the_stated_variance(rng):
    n, c, draws = 4, 300, 10_000
    z = (2 * rng.normal(size=(n, c))).astype(np.float32)
    labels = rng.integers(0, c, n)
    total, squares = np.zeros((n, c)), np.zeros((n, c))
    for seed in range(draws):
        exact, thin = logits_gradient(n, c, z, labels, THRESHOLD, seed)
        total += thin
        squares += (thin.astype(float) - exact) ** 2
    size = np.abs(exact.astype(float))
    variance = np.where(size < THRESHOLD, size * (THRESHOLD - size), 0)
    spread = np.sqrt(variance / draws)
    assert np.all(np.abs(total / draws - exact) <= 5 * spread + 1e-9)
    worth = variance > 1e-4
    assert worth.sum() > 20
    assert np.allclose((squares / draws)[worth], variance[worth], rtol=0.2)
    # Independent roundings: the deviation summed over all entries has the variances' sum.
    z_score = (total / draws - exact).sum() / np.sqrt(variance.sum() / draws)
    assert abs(z_score) < 5


def test_x_grad_is_unbiased_and_within_the_bound_on_its_variance(rng):
    n, d, c, draws = 3, 5, 300, 2000
    x, w = rng.normal(size=(n, d)), rng.normal(size=(c, d))
    labels = rng.integers(0, c, n)
    exact = crossent.linear_cross_entropy(x, w, labels, reduction="sum").x_grad
    direction = rng.normal(size=d)
    z = x @ w.T
    gradient = np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True))
    gradient[np.arange(n), labels] -= 1
    bound = THRESHOLD * (np.abs(gradient) * (w @ direction) ** 2).sum(axis=1)
    found = np.array(
        [
            crossent.linear_cross_entropy(
                x, w, labels, reduction="sum", gradient="unbiased", threshold=THRESHOLD, seed=seed, n_threads=1
            ).x_grad
            @ direction
            for seed in range(draws)
        ]
    )
    assert np.all(found.var(axis=0) <= bound * 1.15)
    assert np.all(np.abs(found.mean(axis=0) - exact @ direction) <= 5 * np.sqrt(bound / draws))


def test_entries_are_kept_or_the_threshold_or_zero_and_few(rng):
    n, c = 50, 5000
    z = rng.normal(size=(n, c)).astype(np.float32)
    exact, thin = logits_gradient(n, c, z, rng.integers(0, c, n), 1 / 256, 3)
    changed = thin != exact
    assert np.isin(np.abs(thin[changed]), [0, np.float32(1 / 256)]).all()
    assert np.all(np.abs(exact[~changed & (thin != 0)]) >= 1 / 256)
    assert np.count_nonzero(thin, axis=1).max() <= 2 * 256 + 5 * np.sqrt(2 * 256)
    assert np.all((np.sign(thin) == np.sign(exact)) | (thin == 0))


@pytest.mark.parametrize("options", [{}, {"softcap": 5.0, "label_smoothing": 0.1}])
def test_unbiased_has_the_same_bits_for_every_budget_and_thread_count(options, rng):
    n, d, c = 600, 8, 2500
    x, w = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(c, d)).astype(np.float32)
    labels = rng.integers(0, c, n)
    labels[::9] = -100
    results = [
        crossent.linear_cross_entropy(
            x, w, labels, gradient="unbiased", seed=5, max_memory=budget, n_threads=threads, **options
        )
        for budget, threads in (("5MiB", 1), ("64MiB", 2), ("1GB", 3))
    ]
    for other in results[1:]:
        assert other.loss == results[0].loss
        assert np.array_equal(other.x_grad, results[0].x_grad)
        assert np.array_equal(other.weight_grad, results[0].weight_grad)


def test_the_loss_and_the_bias_gradient_stay_exact(rng):
    x, w, b = rng.normal(size=(40, 8)), rng.normal(size=(700, 8)), rng.normal(size=700)
    labels = rng.integers(0, 700, 40)
    exact = crossent.linear_cross_entropy(x, w, labels, bias=b)
    found = crossent.linear_cross_entropy(x, w, labels, bias=b, gradient="unbiased")
    assert found.loss == exact.loss
    assert np.array_equal(found.bias_grad, exact.bias_grad)
    assert not np.array_equal(found.x_grad, exact.x_grad)


def test_an_exact_threshold_keeps_everything_that_reaches_it(rng):
    """A threshold below every entry changes nothing: the sparse products are the dense ones."""
    x, w = rng.normal(size=(40, 8)), 0.01 * rng.normal(size=(60, 8))
    labels = rng.integers(0, 60, 40)
    exact = crossent.linear_cross_entropy(x, w, labels, logit_scale=0.5)
    found = crossent.linear_cross_entropy(x, w, labels, logit_scale=0.5, gradient="unbiased", threshold=1e-6)
    assert np.allclose(found.x_grad, exact.x_grad, rtol=1e-12, atol=1e-16)
    assert np.allclose(found.weight_grad, exact.weight_grad, rtol=1e-12, atol=1e-16)
