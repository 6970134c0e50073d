"""The head: weights and training that do not depend on the number of ranks, and rows that move between jobs."""

import numpy as np
import pytest
import training_work


def rows(answers, name):
    return np.concatenate([state[name] for state, _ in answers])


@pytest.mark.parametrize("classes", [2, 7, 3000])
def test_first_weights_depend_on_the_seed_and_the_class_alone(pool, pools, classes):
    alone = pools[1].run(training_work.trained_head, 0, classes)
    spread = pool.run(training_work.trained_head, 0, classes)
    for name in ("weight", "bias"):
        assert np.array_equal(rows(spread, name), rows(alone, name))
    assert len(np.unique(rows(spread, "weight"))) > 0.999 * classes * training_work.FEATURES
    assert np.abs(rows(spread, "weight")).max() <= training_work.FEATURES**-0.5


def test_training_gives_what_one_rank_gives(pool, pools):
    alone = pools[1].run(training_work.trained_head, 20)
    spread = pool.run(training_work.trained_head, 20)
    np.testing.assert_allclose(rows(spread, "weight"), rows(alone, "weight"), rtol=1e-11, atol=1e-13)
    assert spread[0][1] == pytest.approx(alone[0][1], rel=1e-12)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 4), (4, 3)])
def test_rows_move_to_another_number_of_ranks(pools, before, after):
    saved = [state for state, _ in pools[before].run(training_work.trained_head, 3)]
    moved = pools[after].run(training_work.trained_head, 0, 7, saved[::-1])
    for name in ("weight", "bias"):
        assert np.array_equal(rows(moved, name), np.concatenate([state[name] for state in saved]))


def test_rows_that_are_not_its_own_are_refused(pools):
    (messages,) = pools[1].run(training_work.loading_the_wrong_rows)
    assert "class_range is [0, 1, 7]: expected [0, 7, 7]" in messages[0]
    assert messages[1] == "class 0 is in 0 of the state dicts: expected it in one"
    assert messages[2] == "class 0 is in 2 of the state dicts: expected it in one"
    assert messages[3].startswith("state dict of classes 0 to 7 has 8 classes")
