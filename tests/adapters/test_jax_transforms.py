"""Every transform of JAX, to any order, and second derivatives that stay exact on confident rows."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

from crossent.jax import cross_entropy, softmax_cross_entropy  # noqa: E402


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


def exact_hessian(z):
    """Return diag(q) - q qᵀ from 60 digits."""
    with mpmath.workdps(60):
        e = [mpmath.exp(mpmath.mpf(float(v))) for v in z]
        s = mpmath.fsum(e)
        q = [v / s for v in e]
        return np.array([[float(q[i] * ((i == j) - q[j])) for j in range(len(q))] for i in range(len(q))])


ROWS = {
    "ordinary": [0.3, -1.2, 2.0, 0.5],
    "sure, and right": [90.0, 0.0, 3.0, -20.0],
    "sure, and wrong": [0.0, 90.0, 3.0, -20.0],
    "undecided": [1.0, 1.0, 1.0, 1.0],
    "a masked class": [40.0, -np.inf, 0.0, 1.0],
}
HESSIANS = {
    "forward over reverse": lambda f: jax.jacfwd(jax.grad(f)),
    "reverse over reverse": lambda f: jax.jacrev(jax.grad(f)),
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("way", HESSIANS)
def test_hessians_are_exact(way, row):
    z = np.array(ROWS[row])
    got = jax.jit(HESSIANS[way](lambda z: cross_entropy(z, 0)))(z)
    np.testing.assert_allclose(got, exact_hessian(z), rtol=1e-14, atol=0)


def losses_with_options(rng):
    z, y = jnp.asarray(3 * rng.standard_normal((5, 4))), jnp.asarray([0, 3, -100, 1, 2])
    w, s, p = rng.random(4), rng.random(5), rng.dirichlet(np.ones(4), 5)
    yield "labels", lambda z: cross_entropy(z, y), z
    options = {"weight": w, "sample_weight": s, "label_smoothing": 0.1, "z_loss": 1e-2}
    yield "labels, every option", lambda z: cross_entropy(z, y, **options), z
    yield "distributions, every option", lambda z: cross_entropy(z, p, **options), z
    yield "rows", lambda z: cross_entropy(z, y, reduction="none"), z


def test_derivatives_of_any_order_and_mode_agree_with_differences(rng):
    for _, loss, z in losses_with_options(rng):
        check_grads(jax.jit(loss), (z,), order=2, rtol=1e-5, atol=1e-5)
    check_grads(jax.jit(lambda z: cross_entropy(z, 1)), (z[0],), order=3, rtol=1e-5, atol=1e-5)


def test_derivatives_with_respect_to_the_truth(rng):
    z, p = rng.standard_normal((3, 4)), rng.dirichlet(np.ones(4), 3)
    check_grads(jax.jit(softmax_cross_entropy), (z, p), order=2, rtol=1e-5, atol=1e-5)
    sure = np.array([60.0, 0.0, 0.0, 0.0])

    def loss(z, p):
        return softmax_cross_entropy(z, p)

    # d/dp of the gradient P q - p: at the sure class 1 - q, which would cancel.
    mixed = jax.jacfwd(jax.grad(loss), argnums=1)(sure, np.array([1.0, 0.0, 0.0, 0.0]))
    assert mixed[0, 0] == pytest.approx(-3 * np.exp(-60), rel=1e-14)
    back = jax.jacrev(jax.grad(loss), argnums=1)(sure, np.array([1.0, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(back, mixed, rtol=1e-14)


def test_transforms_may_be_nested_in_any_order(rng):
    z, y = jnp.asarray(rng.standard_normal((6, 5))), jnp.asarray(rng.integers(0, 5, 6))

    def row(z, y):
        return cross_entropy(z, y)

    expected = jax.grad(lambda z: cross_entropy(z, y, reduction="sum"))(z)

    def scanned(z):
        return jax.lax.scan(lambda total, zy: (total + row(*zy), None), 0.0, (z, y))[0]

    gradients = {
        "vmap of grad": jax.vmap(jax.grad(row))(z, y),
        "grad of vmap": jax.grad(lambda z: jax.vmap(row)(z, y).sum())(z),
        "jit of vmap of grad": jax.jit(jax.vmap(jax.grad(row)))(z, y),
        "scan": jax.grad(scanned)(z),
        "checkpoint": jax.grad(jax.checkpoint(lambda z: cross_entropy(z, y, reduction="sum")))(z),
        "linearize": jax.linear_transpose(jax.linearize(lambda z: row(z, y[0]), z[0])[1], z[0])(1.0)[0],
    }
    np.testing.assert_allclose(gradients.pop("linearize"), expected[0], rtol=1e-14)
    for name, grad in gradients.items():
        np.testing.assert_allclose(grad, expected, rtol=1e-14, err_msg=name)


def test_hessian_vector_products_along_a_shift_are_zero(rng):
    z = jnp.asarray(5 * rng.standard_normal(7))
    _, product = jax.jvp(jax.grad(lambda z: cross_entropy(z, 2)), (z,), (jnp.ones(7),))
    np.testing.assert_allclose(product, np.zeros(7), atol=1e-16)


def test_traced_options(rng):
    z, y = rng.standard_normal((4, 3)), np.array([0, 1, 2, 0])

    def loss(smoothing, normalizer, z_loss):
        return cross_entropy(z, y, label_smoothing=smoothing, normalizer=normalizer, z_loss=z_loss)

    assert jax.jit(loss)(0.1, 7.0, 1e-3) == pytest.approx(float(loss(0.1, 7.0, 1e-3)), rel=1e-15)
    check_grads(jax.jit(loss), (0.1, 7.0, 1e-3), order=2, rtol=1e-5, atol=1e-5)
