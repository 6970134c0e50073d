"""The fused step is the unfused one, up to rounding."""

import numpy as np
import pytest

import crossent
from crossent.head.plan import one_chunk_plan


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("budget", ["40MiB", "256MiB"])
def test_steps_equal_those_with_a_gradient_of_their_own(dtype, budget, rng):
    n, d, c = 600, 8, 2500
    x = rng.normal(size=(n, d)).astype(dtype)
    labels = rng.integers(0, c, n)
    labels[:7] = -100
    start, bias = rng.normal(size=(c, d)).astype(dtype), rng.normal(size=c).astype(dtype)
    fused = crossent.FusedHeadSGD(
        start.copy(), bias.copy(), learning_rate=3.0, momentum=0.8, weight_decay=0.01, label_smoothing=0.1
    )
    weight, velocity, bias_velocity = start.copy(), np.zeros_like(start), np.zeros_like(bias)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for _ in range(4):
        loss, x_grad = fused.step(x, labels, max_memory=budget)
        whole = crossent.linear_cross_entropy(x, weight, labels, bias=bias, label_smoothing=0.1)
        velocity = 0.8 * velocity + whole.weight_grad + dtype(0.01) * weight
        weight = weight - dtype(3.0) * velocity
        bias_velocity = 0.8 * bias_velocity + whole.bias_grad
        bias = bias - dtype(3.0) * bias_velocity
        assert loss == pytest.approx(whole.loss, rel=tolerance)
        assert np.abs(x_grad - whole.x_grad).max() <= 10 * tolerance * np.abs(whole.x_grad).max()
    assert np.abs(fused.weight - weight).max() <= tolerance * np.abs(weight).max()
    assert np.abs(fused.bias - bias).max() <= tolerance * np.abs(bias).max()


def test_both_kinds_of_plan_are_met():
    kept = [one_chunk_plan(593, 8, 2500, "float64", budget, 2).keeps_logits for budget in ("10MiB", "40MiB", "256MiB")]
    assert kept == [False, True, True]


def test_a_step_on_no_rows_still_moves_by_velocity_and_decay():
    head = crossent.FusedHeadSGD(np.ones((3, 2)), learning_rate=0.5, momentum=0.5, weight_decay=0.1)
    head.velocity[...] = 2.0
    loss, x_grad = head.step(np.ones((2, 2)), np.array([-100, -100]))
    assert loss == 0
    assert not x_grad.any()
    assert np.allclose(head.velocity, 1.1)
    assert np.allclose(head.weight, 1 - 0.55)


def test_steps_learn_labels_that_can_be_learned(rng):
    x = rng.normal(size=(400, 20)).astype(np.float32)
    labels = (x @ rng.normal(size=(20, 7))).argmax(axis=1)
    head = crossent.FusedHeadSGD(np.zeros((7, 20), np.float32), learning_rate=1.0)
    for _ in range(100):
        head.step(x, labels)
    found = crossent.linear_cross_entropy(x, head.weight, labels, needs=(), return_accuracy=True)
    assert found.accuracy > 0.97


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"velocity": np.zeros((3, 2))}, "velocity has shape"),
        ({"velocity": np.zeros((4, 2), np.float32)}, "velocity has dtype float32"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0"),
        ({"reduction": "none"}, "reduction = 'none'"),
        ({"bias": np.zeros(4)}, "bias and bias_velocity"),
        ({"max_memory": 100}, "max_memory = 100: expected at least"),
    ],
)
def test_bad_input_is_refused_before_anything_moves(change, message):
    weight = np.ones((4, 2))
    arguments = {"velocity": np.zeros((4, 2)), "learning_rate": 0.1, **change}
    with pytest.raises((TypeError, ValueError), match=message):
        crossent.fused_sgd_step(np.ones((3, 2)), weight, np.array([0, 1, 2]), **arguments)
    assert np.all(weight == 1)
