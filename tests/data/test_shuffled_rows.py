"""Rows dealt to files come back once each, with their own truth and weight, in an order that has forgotten theirs."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from crossent.data import shuffled_rows
from crossent.data.shuffled_rows import ShuffledRows, uniform


def dealt(folder, n, batch, *, sparse=False, seed=0):
    rows = ShuffledRows(folder, n, seed)
    for start in range(0, n, batch):
        numbers = np.arange(start, min(start + batch, n))
        x = np.stack([numbers, -numbers], axis=1).astype(np.float32)
        rows.add(numbers + 1, csr_matrix(x) if sparse else x, numbers * 2, numbers / 4)
    return rows


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(shuffled_rows, "PART_ROWS", 500)


@pytest.mark.parametrize("sparse", [False, True])
def test_every_row_comes_once_with_what_is_its_own(tmp_path, sparse):
    rows = dealt(tmp_path / "rows", 4000, 330, sparse=sparse)
    batches = list(rows.batches())
    x = np.concatenate([batch[0].toarray() if sparse else batch[0] for batch in batches])
    truth, weights = (np.concatenate([batch[at] for batch in batches]) for at in (1, 2))
    assert sorted(x[:, 0].tolist()) == list(range(4000))
    assert np.array_equal(x[:, 1], -x[:, 0])
    assert np.array_equal(truth, 2 * x[:, 0])
    assert np.array_equal(weights, x[:, 0] / 4)
    assert rows.n_rows == 4000


def test_each_part_is_a_sample_of_the_sorted_whole(tmp_path):
    batches = list(dealt(tmp_path / "rows", 4000, 4000).batches())
    assert len(batches) == 8
    for x, *_ in batches:
        # The mean of some 500 of 0 to 3999 has a standard error of 52.
        assert abs(x[:, 0].mean() - 1999.5) < 250


def test_the_parts_do_not_hang_on_the_batches_but_on_the_seed(tmp_path):
    parts = [[x[:, 0].tolist() for x, *_ in dealt(tmp_path / "r", 2000, batch).batches()] for batch in (100, 2000)]
    other = [x[:, 0].tolist() for x, *_ in dealt(tmp_path / "r", 2000, 100, seed=1).batches()]
    assert parts[0] == parts[1] != other


def test_deleting_leaves_nothing(tmp_path):
    rows = dealt(tmp_path / "rows", 100, 100)
    rows.delete()
    assert list(tmp_path.iterdir()) == []


def test_draws_are_uniform_and_unlike_each_other():
    rows = np.arange(10**5)
    draws = np.array([uniform(rows, seed, draw) for seed in (0, 1) for draw in (0, 1)])
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(draws.mean(axis=1) - 0.5).max() < 0.005
    assert np.abs(draws.var(axis=1) * 12 - 1).max() < 0.02
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.015
