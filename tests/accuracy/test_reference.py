"""The specification's own conventions: defaults, rows that take no part, and what the z-loss adds."""

import numpy as np
import pytest
from scipy.special import logsumexp

from crossent import reference

Z = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])


def test_classes_are_on_the_last_axis_by_default():
    stacked = np.stack([Z, 2 * Z])
    q, log_q = reference.softmax(stacked), reference.log_softmax(stacked)
    np.testing.assert_allclose(q.sum(axis=-1), 1, rtol=1e-15)
    np.testing.assert_allclose(np.exp(log_q), q, rtol=1e-15)


def test_the_label_of_an_ignored_row_is_minus_100_by_default():
    loss, grad = reference.cross_entropy_and_grad(Z, [2, -100], reduction="none")
    assert loss[0] > 0
    assert loss[1] == 0
    assert not grad[1].any()


def test_a_row_without_weight_takes_no_part_whatever_its_logits():
    z = np.array([Z[0], [np.nan, 0.0, 0.0]])
    for target in ([2, 0], [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]):
        loss, grad = reference.cross_entropy_and_grad(z, target, sample_weight=[1.0, 0.0], reduction="none", z_loss=0.5)
        assert np.isfinite(loss[0])
        assert loss[1] == 0
        assert not grad[1].any()


@pytest.mark.parametrize("z_loss", [0.25, 1.0])
def test_a_row_without_truth_costs_its_z_loss_alone(z_loss):
    p = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    loss, grad = reference.cross_entropy_and_grad(Z, p, reduction="none", z_loss=z_loss)
    lse = logsumexp(Z, axis=1)
    assert loss[0] == pytest.approx(z_loss * lse[0] ** 2, rel=1e-14)
    np.testing.assert_allclose(grad[0], 2 * z_loss * lse[0] * np.exp(Z[0] - lse[0]), rtol=1e-13)
    assert loss[1] == pytest.approx(lse[1] + 0.5 + z_loss * lse[1] ** 2, rel=1e-14)
