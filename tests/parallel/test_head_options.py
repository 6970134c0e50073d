"""Everything that a head in one process takes is taken with the classes spread, and means the same."""

import inspect

import head_option_work

from crossent.torch import linear_cross_entropy
from crossent.torch.parallel import class_parallel_cross_entropy

# What has another name for a shard; PyTorch's own options hold the rows of a chunk, for which there is max_memory.
RENAMED = {"input": "x", "linear_weight": "weight_shard", "linear_bias": "bias_shard"}
LEFT_OUT = {"options"}
CASES = 120
OF_RANKS = {"group", "row_group", "check_same"}


def test_it_takes_what_the_head_of_one_process_takes():
    alone, spread = (set(inspect.signature(f).parameters) for f in (linear_cross_entropy, class_parallel_cross_entropy))
    assert {RENAMED.get(name, name) for name in alone - LEFT_OUT} == spread - OF_RANKS


def test_values_and_gradients_are_those_of_float64_formulas(pool):
    for error, number in pool.run(head_option_work.worst_error, range(CASES)):
        assert error < 1e-11, head_option_work.problem(number)
