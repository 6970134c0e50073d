"""Plans keep to their budget, and bad sizes are refused."""

import re
import tracemalloc

import numpy as np
import pytest

import crossent
from crossent.head.memory import bytes_of


@pytest.mark.parametrize("n", [1, 100, 4096, 100_000])
@pytest.mark.parametrize(("d", "c"), [(512, 32_000), (64, 100_000), (512, 131_072), (4, 1), (512, 1_000_000)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_workspace_keeps_to_the_budget_and_chunks_cover_the_rows(n, d, c, dtype):
    for budget in ("64MiB", "1GB"):
        plan = crossent.head_plan(n, d, c, dtype=dtype, max_memory=budget, n_threads=2)
        assert plan.workspace <= plan.max_memory
        rows = [plan.rows(chunk) for chunk in range(plan.chunks)]
        assert [r.start for r in rows[1:]] == [r.stop for r in rows[:-1]]
        assert (rows[0].start, rows[-1].stop) == (0, n)
        assert plan.chunks == 1 or plan.chunk % plan.row_block == 0
        tiles = [plan.classes(tile) for tile in range(plan.tiles)]
        assert (tiles[0].start, tiles[-1].stop) == (0, c)


def test_blocks_and_tiles_do_not_depend_on_the_budget():
    plans = [crossent.head_plan(5000, 64, 50_000, max_memory=m, n_threads=t) for m, t in (("8MiB", 1), ("2GB", 8))]
    assert len({(plan.row_block, plan.class_tile, plan.groups) for plan in plans}) == 1
    assert {plan.products for plan in plans} == {3, 4}


def test_memory_that_is_allocated_stays_within_the_plan(rng):
    n, d, c = 2000, 32, 5000
    x, w = rng.normal(size=(n, d)), rng.normal(size=(c, d))
    labels = rng.integers(0, c, n)
    crossent.linear_cross_entropy(x[:2], w, labels[:2])
    tracemalloc.start()
    crossent.linear_cross_entropy(x, w, labels, max_memory="24MiB", n_threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The gradients are in it; native scratch, a part of the plan, is not.
    assert peak <= x.nbytes + w.nbytes + (24 << 20) < n * c * 8


def test_the_plan_prints_as_a_table():
    text = str(crossent.head_plan(4096, 512, 1_000_000, n_threads=2))
    assert "made again" in text
    assert re.search(r"chunks +4 of 1,024 rows", text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 << 20), ("1GB", 10**9), ("1.5 kib", 1536), ("2G", 2 << 30), (77, 77), (np.int64(5), 5), ("12", 12)],
)
def test_amounts_of_memory(text, size):
    assert bytes_of("max_memory", text) == size


@pytest.mark.parametrize("amount", ["", "MiB", "-1MB", "1 XB", 0, -5, 1.5, None, True, "1e9"])
def test_amounts_that_are_none(amount):
    with pytest.raises((TypeError, ValueError), match="max_memory"):
        bytes_of("max_memory", amount)


X, W, Y = np.ones((3, 2)), np.ones((4, 2)), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("x", "weight", "target", "options", "message"),
    [
        (X, W, np.array([0, 4, 1]), {}, r"target\[1\] = 4 is outside \[0, 4\)"),
        (X, W[:, :1], Y, {}, r"weight has shape \(4, 1\): expected \(C, 2\)"),
        (X, W.astype(np.float32), Y, {}, "weight has dtype float32: expected float64"),
        (X, W, Y[:2], {}, r"target has shape \(2,\)"),
        (X, W, Y, {"bias": np.ones(3)}, r"bias has shape \(3,\)"),
        (X, W, Y, {"max_memory": 100}, "max_memory = 100: expected at least"),
        (X, W, Y, {"gradient": "approximate"}, "gradient = 'approximate'"),
        (X, W, Y, {"needs": ("y",)}, "needs = 'y'"),
        (X, W, Y, {"softcap": 0}, "softcap = 0"),
        (X, W, Y, {"logit_scale": np.inf}, "logit_scale = inf"),
        (X, W, Y, {"shift": 4}, "shift = 4"),
        (X, W, Y, {"shift": -1}, "shift = -1"),
        (X, W, Y, {"return_target_grad": True}, "return_target_grad = True"),
        (X, W, Y, {"gradient": "unbiased", "threshold": 0.0}, "threshold = 0.0"),
        (X, W, Y, {"seed": -1}, "seed = -1"),
        (X, W, Y, {"reduction": "median"}, "reduction = 'median'"),
        (X, W, Y, {"normalizer": 3.0, "reduction": "sum"}, "normalizer = 3.0"),
        (X, W, (Y[:, None], np.ones((3, 2))), {}, r"target\[1\] has shape"),
        (X, W, (np.array([[0, 9]] * 3), np.ones((3, 2))), {}, r"target\[0\], row 0, entry 1 = 9 is outside"),
        (X, W, (np.array([[1, 1]] * 3), np.ones((3, 2))), {}, r"target\[0\], row 0 names class 1 twice"),
        (X, W, (np.array([[0, 1]] * 3), -np.ones((3, 2))), {}, r"target\[1\], row 0, entry 0 = -1"),
        (X, W, (X, X), {}, r"target\[0\] is a ndarray: expected an array of integers"),
    ],
)
def test_bad_input_is_named(x, weight, target, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        crossent.linear_cross_entropy(x, weight, target, **options)
