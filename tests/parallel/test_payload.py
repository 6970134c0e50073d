"""Three all-reduces a step, of exactly the bytes that the documentation says."""

import pytest
import rank_work
import torch

from crossent.torch.parallel import step_cost

D, ROWS = 4, 11


@pytest.mark.parametrize("rows", [0, 1, 37])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("labels", "options", "columns"),
    [
        (True, {}, 2),
        (True, {"weight": torch.ones(9)}, 3),
        (True, {"label_smoothing": 0.1}, 4),
        (True, {"label_smoothing": 0.1, "weight": torch.ones(9), "z_loss": 0.1, "ignore_index": 3}, 5),
        (True, {"reduction": "none", "softcap": 30.0, "logit_scale": 2.0}, 2),
        (False, {}, 4),
        (False, {"label_smoothing": 0.1, "weight": torch.ones(9)}, 4),
    ],
)
def test_payload_is_as_documented(pools, rows, dtype, labels, options, columns):
    size = 8 if dtype == torch.float64 else 4
    expected = [("MAX", size * (rows + 1)), ("SUM", 8 * (columns * rows + 5)), ("SUM", size * (rows * D + 1))]
    cost = step_cost(9, D, rows, class_ranks=2, columns=columns, itemsize=size)
    assert [each for _, each in expected] == [cost.top, cost.sums, cost.x_grad]
    for answer in pools[2].run(rank_work.payloads, options, rows, labels, dtype):
        assert answer == expected


def test_another_number_of_rows_costs_one_small_reduction_more(pools):
    pools[2].run(rank_work.payloads, {}, 5)
    for answer in pools[2].run(rank_work.payloads, {}, 8, True, torch.float32, False):
        assert answer == [("MAX", 4 * 6), ("MAX", 4 * 9), ("SUM", 8 * (2 * 8 + 5)), ("SUM", 4 * (8 * D + 1))]


@pytest.mark.parametrize(
    ("labels", "columns", "top"), [(True, 3, ROWS + 1), (False, 5, 2 * ROWS + 1)], ids=["labels", "distributions"]
)
def test_the_accuracy_costs_a_column_and_that_of_distributions_one_of_the_maximum(pools, labels, columns, top):
    options = {"return_accuracy": True, "return_lse": True}
    for answer in pools[2].run(rank_work.payloads, options, ROWS, labels):
        assert answer == [("MAX", 4 * top), ("SUM", 8 * (columns * ROWS + 5)), ("SUM", 4 * (ROWS * D + 1))]


@pytest.mark.parametrize(("size", "entries"), [(None, 9), ("own", 0)], ids=["all classes", "own classes"])
def test_the_gradient_of_all_class_weights_rides_with_that_of_x(pools, size, entries):
    for answer in pools[2].run(rank_work.payloads_of_class_weights, ROWS, size):
        assert answer == [
            ("MAX", 4 * (ROWS + 1)),
            ("SUM", 8 * (3 * ROWS + 5)),
            ("SUM", 4 * (ROWS * D + entries + 1)),
        ]


@pytest.mark.parametrize("grad", [False, True])
def test_the_gradient_of_a_few_classes_probabilities_rides_with_that_of_x(pools, grad):
    k = 3
    options = {"target": (torch.zeros(ROWS, k, dtype=torch.int64), torch.ones(ROWS, k, requires_grad=grad))}
    for answer in pools[2].run(rank_work.payloads, options, ROWS):
        assert answer == [
            ("MAX", 4 * (ROWS + 1)),
            ("SUM", 8 * (4 * ROWS + 5)),
            ("SUM", 4 * (ROWS * (D + k * grad) + 1)),
        ]
