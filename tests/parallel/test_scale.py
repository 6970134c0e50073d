"""The cost model is what the simulated messages of its layouts add up to."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from crossent.torch.parallel import step_cost

PATH = Path(__file__).parents[2] / "benchmarks" / "scale.py"
SPEC = importlib.util.spec_from_file_location("scale", PATH)
scale = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(scale)


@pytest.mark.parametrize(("class_ranks", "row_ranks"), [(1, 1), (1, 6), (5, 1), (3, 4), (16, 2), (64, 8)])
@pytest.mark.parametrize("gathered", [False, True])
def test_rings_send_what_the_model_says(class_ranks, row_ranks, gathered):
    cost = step_cost(1000, 16, 60, class_ranks=class_ranks, row_ranks=row_ranks, gathered=gathered)
    wires = scale.Wires(class_ranks * row_ranks, 1e-6, 1e9)
    scale.simulated(cost, class_ranks, row_ranks, scale.ring_all_reduce, wires)
    scale.check(cost, wires)


def test_halving_sends_as_much_in_fewer_hops():
    ring, halving = scale.Wires(32, 1e-6, 1e9), scale.Wires(32, 1e-6, 1e9)
    group = np.arange(32)[None]
    scale.ring_all_reduce(ring, group, 1e6)
    scale.halving_all_reduce(halving, group, 1e6)
    np.testing.assert_allclose(halving.sent, ring.sent)
    assert (ring.hops, halving.hops) == (62, 10)
    assert halving.clock.max() < ring.clock.max()


def test_a_wrong_model_is_noticed():
    cost = step_cost(1000, 16, 60, class_ranks=4)
    wires = scale.Wires(4, 1e-6, 1e9)
    scale.simulated(cost, 4, 1, scale.ring_all_reduce, wires)
    scale.ring_all_reduce(wires, np.arange(4)[None], 8.0)
    with pytest.raises(AssertionError, match="bytes sent"):
        scale.check(cost, wires)


def test_the_best_layout_sends_least():
    class_ranks, row_ranks = scale.best_layout(512, 10**8, 512, 8192)
    sent = {
        t: scale.own_rows(10**8, 512, 8192, t, 512 // t).sent for t in (class_ranks // 2, class_ranks, 2 * class_ranks)
    }
    assert class_ranks * row_ranks == 512
    assert min(sent, key=sent.get) == class_ranks
