"""The variables of the exact solver: lengths in them are curvatures of the objective."""

import numpy as np
import pytest
import scipy.sparse as sp

from crossent import reference
from crossent.training import Examples, exact
from crossent.training.exact import ExactOptions, minimize_exactly
from crossent.training.preconditioner import HESSIAN_ROWS, HessianPreconditioner

ALPHA = 1e-3


def curvature(x, p, weights, point, direction):
    """Return the objective's second derivative along a direction, by central differences of the reference's slopes."""
    mass = weights.sum()

    def slope(step):
        weight, bias = (part + step * along for part, along in zip(point, direction, strict=True))
        grad = reference.cross_entropy_and_grad(x @ weight + bias, p, reduction="sum", sample_weight=weights).grad
        along_weight, along_bias = direction
        return np.vdot(x.T @ grad / mass + ALPHA * weight, along_weight) + grad.sum(axis=0) @ along_bias / mass

    return (slope(1e-4) - slope(-1e-4)) / 2e-4


@pytest.fixture(params=["float64", "float32", "CSR"])
def form(request):
    return {"float64": np.asarray, "float32": np.float32, "CSR": sp.csr_matrix}[request.param]


@pytest.mark.parametrize(("n", "tolerance"), [(300, 1e-5), (3 * HESSIAN_ROWS, 0.1)])
def test_the_square_of_a_length_is_the_curvature_in_that_direction(form, n, tolerance, rng):
    x = rng.standard_normal((n, 4)).astype(np.float32).astype(np.float64)
    x[:, 0] **= 3
    weights = rng.exponential(size=n) * (rng.random(n) < 0.8)
    point = 2 * rng.standard_normal((4, 3)), rng.standard_normal(3)
    center = np.zeros(4)
    examples = Examples(form(x), 3, labels=rng.integers(0, 3, n), sample_weight=weights)
    variables = HessianPreconditioner(examples, center, ALPHA, *point)
    for _ in range(5):
        direction = rng.standard_normal((4, 3)), rng.standard_normal(3)
        length = np.sum(variables.variables(*direction) ** 2)
        # The preconditioner holds the biases as it does the weights, where the objective leaves them free.
        exact_length = curvature(x, examples.labels, weights, point, direction) + ALPHA * np.sum(direction[1] ** 2)
        assert length == pytest.approx(exact_length, rel=max(tolerance, 1e-4 if examples.dtype == np.float32 else 0))


def test_variables_and_parameters_are_inverse_and_slopes_are_the_transpose(rng):
    x, point = rng.standard_normal((200, 5)), (rng.standard_normal((5, 3)), rng.standard_normal(3))
    examples = Examples(x, 3, labels=rng.integers(0, 3, 200))
    variables = HessianPreconditioner(examples, x.mean(axis=0), ALPHA, *point)
    back = variables.parameters(variables.variables(*point), 3)
    for part, given in zip(back, point, strict=True):
        np.testing.assert_allclose(part, given, rtol=1e-9)
    slopes, moved = (rng.standard_normal((5, 3)), rng.standard_normal(3)), rng.standard_normal(18)
    along = variables.parameters(moved, 3)
    assert variables.slopes(*slopes) @ moved == pytest.approx(
        np.vdot(slopes[0], along[0]) + slopes[1] @ along[1], rel=1e-9
    )


def test_turning_to_the_curvature_reached_saves_iterations(monkeypatch, rng):
    # Heavy tails and a class of 1 %: the curvature at the minimum is nothing like the Gram matrix.
    x = rng.standard_t(2, (3000, 6))
    logits = x @ rng.standard_normal((6, 4)) * 3 + [0, 0, 0, -12]
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    options = ExactOptions(1e-5, tol=1e-7)
    turned = minimize_exactly(Examples(x, 4, labels=y), options)
    monkeypatch.setattr(exact, "TURNS", ())
    straight = minimize_exactly(Examples(x, 4, labels=y), options)
    assert turned.stop_reason == straight.stop_reason == "tol"
    np.testing.assert_allclose(turned.weights[0], straight.weights[0], atol=2e-3)
    assert turned.n_epochs < 0.7 * straight.n_epochs
