"""Rows spread over ranks: one denominator for all of them, by hand, under DDP, under FSDP2, and with classes spread."""

import pytest
import training_work


def test_the_gradient_is_that_of_all_rows(pool):
    for summed, averaged, _ in pool.run(training_work.gradient_error_by_hand):
        assert max(summed, averaged) < 1e-14


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_mean_of_means_is_not(pools, size):
    for *_, means in pools[size].run(training_work.gradient_error_by_hand):
        assert means > 0.14


def test_it_works_under_ddp(pool):
    assert max(pool.run(training_work.gradient_error_under_ddp)) < 1e-14


@pytest.mark.parametrize("size", [1, 2, 3])
def test_it_works_under_fsdp2(pools, size):
    assert max(pools[size].run(training_work.gradient_error_under_fsdp)) < 1e-14


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_bad_count_is_raised_by_all(pool, value):
    where = f"rank {pool.size - 1}: " if pool.size > 1 else ""
    for message, after in pool.run(training_work.raised_by_bad_count, value):
        assert message == f"{where}count = {value}: expected a finite number of at least 0"
        assert after == 1.5


def test_the_mean_of_nothing_is_0_with_a_gradient_of_0(pool):
    assert pool.run(training_work.mean_of_nothing) == [(0.0, [0.0, 0.0])] * pool.size


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_rows_and_classes_may_be_spread_at_once(pool, reduction):
    for errors in pool.run(training_work.gradient_errors_on_a_grid, reduction):
        assert max(errors) < 1e-13


def test_a_fault_reaches_every_rank_of_a_grid(pool):
    answers = pool.run(training_work.raised_on_a_grid, pool.size - 1)
    assert all(answer == answers[0] for answer in answers)
    where = f"rank {pool.size - 1}: " if pool.size > 1 else ""
    assert answers[0] == [
        where + "target[1] = 9 is outside [0, 5)",
        where + "z_loss = -1.0: expected a finite number of at least 0",
        1.6094,
    ]


def test_the_head_trains_under_ddp(pool):
    assert max(pool.run(training_work.head_under_ddp)) < 1e-14
