"""The unbiased gradient of spread classes: NumPy's roundings whatever the ranks, and what stays exact."""

import numpy as np
import pytest
import unbiased_work

DRAWS = 400


@pytest.mark.parametrize("seed", range(5))
def test_the_roundings_are_those_of_one_process(pool, seed):
    assert max(pool.run(unbiased_work.difference_from_one_process, seed)) < 1e-12


def test_the_loss_and_the_bias_gradient_stay_exact(pool):
    for loss, _, weight, bias in pool.run(unbiased_work.same_as_exact):
        assert loss
        assert bias
        assert not weight


@pytest.mark.parametrize("seeds_differ", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_draws_average_to_the_exact_gradient_and_their_entries_are_bounded(pools, seeds_differ, reduction):
    answers = pools[3].run(unbiased_work.draws, DRAWS, seeds_differ, reduction)
    exact, mean, deviation = (np.concatenate([each[i] for each in answers]) for i in range(3))
    assert (deviation > 0.01 * deviation.max()).sum() > 100
    assert np.all(np.abs(mean - exact) <= 5 * deviation / np.sqrt(DRAWS) + 1e-12)
    assert all(each[3] == 0 for each in answers)
    # A sum over the classes of independent roundings, each times a weight.
    weight = unbiased_work.problem()[0]
    bound = 5 * np.sqrt((deviation**2).T @ (weight.T**2)) / np.sqrt(DRAWS)
    for each in answers:
        assert np.all(np.abs(each[5] - each[4]) <= bound + 1e-12)
        assert np.array_equal(each[5], answers[0][5])


def test_neither_budget_nor_threads_change_the_weights_gradient(pools):
    assert all(pools[2].run(unbiased_work.bits, ("64MiB", 3000), (1, 2)))
