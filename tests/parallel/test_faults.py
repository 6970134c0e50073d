"""What is wrong on one rank is raised by all, and the group goes on."""

import os
import signal
import time

import pytest
import rank_work
from rank_pool import Pool


@pytest.mark.parametrize("name", rank_work.FAULTS)
def test_a_fault_of_one_rank_is_raised_by_all(pool, name):
    _, kind, words = rank_work.FAULTS[name]
    if pool.size == 1 and name in rank_work.NEED_TWO:
        pytest.skip("takes another rank to differ from")
    faulty = pool.size - 1
    answers = pool.run(rank_work.raised_by_fault, name, faulty)
    assert None not in answers
    assert {answer[0] for answer in answers} == {kind.__name__}
    assert len({answer[1] for answer in answers}) == 1
    assert words in answers[0][1]
    assert all(before and after for _, _, before, after in answers)


def test_the_message_names_the_rank(pools):
    assert pools[3].run(rank_work.raised_by_fault, "label C", 1)[0][1] == "rank 1: target[2] = 9 is outside [0, 9)"


def test_a_rank_that_fails_in_backward_is_reported_by_all(pool):
    answers = pool.run(rank_work.raised_by_failing_backward, 0)
    where = "rank 0: " if pool.size > 1 else ""
    assert answers == [(where + "no room for the gradient", True)] * pool.size


def test_a_weight_without_any_class_is_refused(pool):
    for answer in pool.run(rank_work.raised_without_classes):
        assert answer == "weight_shard has no rows on any rank: expected at least one class"


def test_class_weights_that_learn_are_all_classes_or_the_ranks_own_everywhere(pools):
    expected = "rank 0: weight has 9 entries and requires a gradient: expected all classes' on every rank, or on every"
    for message, right in pools[3].run(rank_work.raised_by_class_weights_of_two_kinds):
        assert message.startswith(expected)
        assert right


@pytest.mark.parametrize(("blow", "timeout"), [(signal.SIGKILL, 60.0), (signal.SIGSTOP, 3.0)])
def test_a_rank_that_is_gone_or_hangs_is_not_waited_for(blow, timeout):
    pool = Pool(2, timeout)
    try:
        assert pool.run(rank_work.is_right) == [True, True]
        os.kill(pool.processes[1].pid, blow)
        start = time.monotonic()
        pool.connections[0].send((rank_work.is_right, ()))
        assert pool.connections[0].poll(20.0)
        kind, trace = pool.connections[0].recv()
        assert time.monotonic() - start < 15.0
        assert kind == "raised"
        assert "RuntimeError" in trace or "DistBackendError" in trace
    finally:
        pool.processes[1].kill()
        pool.close()


def test_a_group_that_is_started_again_agrees_anew(pools):
    for answer in pools[2].run(rank_work.in_groups_of_their_own):
        assert answer == [True, True, True]
