"""Rows are held out in proportion, and no class loses its last row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossent.data import stratified_holdout

COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=8)


@given(counts=COUNTS, fraction=st.floats(0, 0.95), seed=st.integers(0, 1000))
def test_both_parts_are_the_rows_and_each_class_gives_its_share(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    kept, held_out = stratified_holdout(labels, fraction, np.random.default_rng(seed))
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    held = np.bincount(labels[held_out], minlength=len(counts))
    left = np.bincount(labels[kept], minlength=len(counts))
    assert left.min() >= 1
    assert np.all(np.abs(held - fraction * np.array(counts)) <= 1)


def test_the_seed_decides():
    labels = np.arange(100) % 3
    first, again, other = (stratified_holdout(labels, 0.2, np.random.default_rng(s))[1] for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_many_small_classes_still_give_rows():
    labels = np.repeat(np.arange(50), 4)
    _, held_out = stratified_holdout(labels, 0.1, np.random.default_rng(0))
    assert 19 <= len(held_out) <= 21
