"""Rows and classes at the edges, spread over ranks."""

import edge_work
import numpy as np
import pytest
import torch

from crossent import reference

MiB = 1 << 20


@pytest.mark.parametrize("label", [0, 3])
@pytest.mark.parametrize("soft", [False, True], ids=["label", "distribution"])
@pytest.mark.parametrize(
    ("margin", "dtype"),
    [
        (20.0, torch.float32),
        (80.0, torch.float32),
        (-90.0, torch.float32),
        (40.0, torch.float64),
        (700.0, torch.float64),
    ],
)
def test_a_confident_row_keeps_its_loss_and_its_gradient(pool, margin, dtype, soft, label):
    z = np.zeros(4)
    z[label] = margin
    loss, grad = reference.cross_entropy_and_grad(z, label)
    ulp = torch.finfo(dtype).eps
    answers = pool.run(edge_work.confident_row, margin, dtype, soft, label)
    found = [each for _, own, _ in answers for each in own]
    np.testing.assert_allclose(found, grad, rtol=4 * ulp)
    for own_loss, _, x_grad in answers:
        assert own_loss == pytest.approx(loss, rel=4 * ulp)
        assert x_grad == pytest.approx((grad * z).sum(), rel=8 * ulp)


def test_ignored_rows_are_not_looked_at(pool):
    for loss, grad, finite in pool.run(edge_work.ignored_rows_with_nan):
        assert loss[1] == 0.0
        assert loss[0] > 0.0
        assert grad[1] == [0.0, 0.0]
        assert np.isfinite(grad).all()
        assert finite


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [0, 3])
def test_a_masked_class_costs_something_only_where_it_has_truth(pool, label, smoothing):
    z, weight = np.array([0.0, 1.0, 2.0, -np.inf]), [1.0, 1.0, 1.0, 1.0 if label == 3 else 0.0]
    expected = reference.cross_entropy(z[None], [label], label_smoothing=smoothing, weight=weight)
    for loss, finite in pool.run(edge_work.masked_classes, label, smoothing):
        assert loss == pytest.approx(float(expected), rel=1e-6)
        assert finite


@pytest.mark.parametrize("max_memory", [64, MiB])
def test_a_second_backward_is_right(pool, max_memory):
    for once, twice, scaled in pool.run(edge_work.backward_twice, max_memory):
        np.testing.assert_array_equal(once, twice)
        np.testing.assert_allclose(scaled, 2.5 * once, rtol=1e-14)


def test_a_second_derivative_is_refused(pool):
    for message in pool.run(edge_work.second_derivative):
        assert "no second derivative" in message


@pytest.mark.parametrize("which", ["x", "weight"])
def test_what_is_frozen_gets_no_gradient(pool, which):
    assert pool.run(edge_work.frozen, which) == [(which != "x", which != "weight")] * pool.size


def test_nothing_is_recorded_without_gradients(pool):
    for records, loss in pool.run(edge_work.without_gradients):
        assert not records
        assert loss > 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("max_memory", [20_000, 64 * MiB])
def test_low_precision_is_computed_in_float32_and_rounded_once(pool, dtype, max_memory):
    for loss, errors, loss_dtype, grad_dtype in pool.run(edge_work.low_precision, dtype, 50, max_memory):
        assert loss < 1e-6
        assert max(errors) < torch.finfo(dtype).eps / 2
        assert (loss_dtype, grad_dtype) == ("torch.float32", str(dtype))


def test_rows_may_have_any_shape(pool):
    for found in pool.run(edge_work.shapes):
        assert found == [((2, 3), (2, 3, 4)), ((), (4,)), ((0,), (0, 4))]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nothing_to_learn_from_gives_0(pool, reduction):
    zero = [0.0, 0.0] if reduction == "none" else 0.0
    assert pool.run(edge_work.all_ignored, reduction) == [(zero, 0.0, 0.0)] * pool.size


def test_logits_stay_within_the_budget(pools):
    # Of 512 rows and 50,000 classes they are 98 MiB, 49 on each rank; rows' statistics and Python take the rest.
    for bytes_held in pools[2].run(edge_work.peak_memory, 512, 16, 50_000, 8 * MiB):
        assert bytes_held < 16 * MiB
