"""The head against float64 formulas on whole logits, for every option and kind of target, whatever the budget."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import crossent
from crossent import reference
from crossent.head.loop import run_head
from crossent.head.truth import head_truth

# Rows, features, classes, budgets: one tile and many, kept logits and logits made again, one chunk and several.
SIZES = (
    (50, 7, 13, "64MiB"),
    (1, 1, 1, "64MiB"),
    (300, 16, 1500, "1MiB"),
    (300, 16, 1500, "3MiB"),
    (300, 16, 1500, "64MiB"),
)


def layer(n, d, c, rng, dtype=np.float64):
    arrays = rng.normal(size=(n, d)), rng.normal(size=(c, d)), rng.normal(size=c)
    return tuple(array.astype(dtype) for array in arrays)


def target_of(kind, n, c, rng):
    if kind == "labels":
        labels = rng.integers(0, c, n)
        labels[::7] = -100
        return labels, labels
    if kind == "distributions":
        probs = rng.random((n, c)) * (rng.random((n, c)) < 0.3)
        return probs, probs
    k = min(5, c)
    classes = np.argsort(rng.random((n, c)), axis=1)[:, :k]
    values = rng.random((n, k))
    dense = np.zeros((n, c))
    np.put_along_axis(dense, classes, values, axis=1)
    return (classes, values), dense


def option_sets(n, c, rng):
    weights = {"class_weight": rng.random(c) + 0.1}
    rows = rng.random(n)
    rows[1::5] = 0
    yield from (
        {},
        weights,
        {"label_smoothing": 0.1},
        {"sample_weight": rows, "z_loss": 0.01},
        {"label_smoothing": 0.2, **weights, "sample_weight": rows + 0.5, "z_loss": 0.02, "normalizer": 77.0},
        {"reduction": "sum", "logit_scale": 0.5, "softcap": 3.0, **weights},
        {"reduction": "none", "softcap": 2.0, "label_smoothing": 0.1},
    )


def expected(x, w, b, target, options):
    """Loss and gradients by the formulas, on whole float64 logits; with the chain rule of scale and cap."""
    options = dict(options)
    scale, cap = options.pop("logit_scale", 1.0), options.pop("softcap", None)
    options["weight"] = options.pop("class_weight", None)
    z = scale * (x @ w.T) + (0.0 if b is None else b)
    capped = z if cap is None else cap * np.tanh(z / cap)
    loss, g = reference.cross_entropy_and_grad(capped, target, **options)
    if cap is not None:
        g = g * (1 - (capped / cap) ** 2)
    return loss, scale * g @ w, scale * g.T @ x, g.sum(axis=0)


def assert_close(found, exact, tolerance, what):
    size = np.abs(exact).max(initial=1e-300)
    assert np.abs(np.asarray(found, np.float64) - exact).max(initial=0) <= tolerance * size, what


@pytest.mark.parametrize("kind", ["labels", "distributions", "sparse"])
@pytest.mark.parametrize(("n", "d", "c", "budget"), SIZES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_option_gives_what_the_formulas_give(kind, n, d, c, budget, dtype, rng):
    tolerance = 2e-12 if dtype == np.float64 else 2e-5
    x, w, bias = layer(n, d, c, rng, dtype)
    target, dense = target_of(kind, n, c, rng)
    for options, b in itertools.product(option_sets(n, c, rng), (None, bias)):
        found = crossent.linear_cross_entropy(
            x, w, target, bias=b, max_memory=budget if dtype == np.float32 else "64MiB", n_threads=2, **options
        )
        wide = (x.astype(float), w.astype(float), None if b is None else b.astype(float))
        loss, x_grad, weight_grad, bias_grad = expected(*wide, dense, options)
        assert_close(found.loss, loss, tolerance, ("loss", options))
        assert_close(found.x_grad, x_grad, tolerance, ("x", options))
        assert_close(found.weight_grad, weight_grad, tolerance, ("weight", options))
        assert (found.bias_grad is None) == (b is None)
        if b is not None:
            assert_close(found.bias_grad, bias_grad, tolerance, ("bias", options))


@pytest.mark.parametrize("kind", ["labels", "distributions", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_same_bits_for_every_budget_and_thread_count(kind, dtype, rng):
    n, d, c = 700, 16, 2500
    x, w, bias = layer(n, d, c, rng, dtype)
    target, _ = target_of(kind, n, c, rng)
    plans, results = set(), []
    for budget, threads in ((1, 1), (2, 2), (5, 3), (20, 2), (1000, 1)):
        budget = f"{budget * np.dtype(dtype).itemsize // 4}MiB"
        plan = crossent.head_plan(n, d, c, dtype=dtype, max_memory=budget, n_threads=threads)
        plans.add((plan.chunk, plan.keeps_logits))
        results.append(
            crossent.linear_cross_entropy(
                x, w, target, bias=bias, max_memory=budget, n_threads=threads, softcap=9.0, return_lse=True
            )
        )
    assert {keeps for _, keeps in plans} == {True, False}
    assert len(plans) >= 3
    for other in results[1:]:
        for name in ("loss", "x_grad", "weight_grad", "bias_grad", "lse"):
            assert np.array_equal(getattr(results[0], name), getattr(other, name)), name


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype, rng):
    x, w, bias = (array.astype(dtype) for array in layer(300, 16, 1500, rng))
    labels = rng.integers(0, 1500, 300)
    found = crossent.linear_cross_entropy(x, w, labels, bias=bias)
    exact = expected(*(array.astype(float) for array in (x, w, bias)), labels, {})
    assert found.loss.dtype == np.float32
    assert_close(found.loss, exact[0], 1e-6, "loss")
    half_ulp = 2.0**-8 if dtype == ml_dtypes.bfloat16 else 2.0**-11
    for got, want in zip(found[1:4], exact[1:], strict=True):
        assert got.dtype == dtype
        error = np.abs(got.astype(float) - want)
        assert np.all(error <= half_ulp * 1.01 * np.abs(want) + 2e-6 * np.abs(want).max() + 6e-8)


def test_the_loss_of_confident_rows_is_exact_for_the_given_logits(level, rng):
    """One feature and weights that are powers of two: the products are exact, so the loss is judged to its ulp."""
    margins = np.array([1, 5, 16, 20, 40, 60, 80], np.float32)
    c = 3000
    weight = np.zeros((c, 1), np.float32)
    weight[1234] = 1
    found = crossent.linear_cross_entropy(
        margins[:, None], weight, np.full(len(margins), 1234), reduction="none", needs=("x", "weight")
    )
    exact = np.log1p((c - 1) * np.exp(-margins.astype(float)))
    assert np.all(np.abs(found.loss - exact) <= 4 * np.spacing(exact.astype(np.float32)))
    slope = -exact_slope(margins.astype(float), c)
    assert np.all(np.abs(found.x_grad[:, 0] - slope) <= 8 * np.spacing(np.abs(slope).astype(np.float32)))


def exact_slope(margin, c):
    odds = (c - 1) * np.exp(-margin)
    return odds / (1 + odds)


def test_ignored_rows_may_hold_anything_and_get_no_gradient(rng):
    x, w, _ = layer(40, 6, 50, rng)
    labels = rng.integers(0, 50, 40)
    kept = np.arange(40) % 3 != 0
    dirty = np.where(kept[:, None], x, np.nan)
    found = crossent.linear_cross_entropy(dirty, w, np.where(kept, labels, -100), return_lse=True)
    alone = crossent.linear_cross_entropy(x[kept], w, labels[kept])
    assert found.loss == alone.loss
    assert np.array_equal(found.x_grad[kept], alone.x_grad)
    assert not found.x_grad[~kept].any()
    assert np.array_equal(found.weight_grad, alone.weight_grad)
    assert not found.lse[~kept].any()


@pytest.mark.parametrize("n", [0, 5])
def test_no_row_at_all_gives_zero(n):
    x, w = np.ones((n, 3)), np.ones((4, 3))
    found = crossent.linear_cross_entropy(x, w, np.full(n, -100), bias=np.zeros(4))
    assert found.loss == 0
    assert not found.x_grad.any()
    assert not found.weight_grad.any()
    assert not found.bias_grad.any()


@pytest.mark.parametrize("shift", [0, 1, 3, 8])
@pytest.mark.parametrize("kind", ["labels", "distributions", "sparse"])
def test_shift_holds_rows_against_later_targets(kind, shift, rng):
    batch, length, d, c = 3, 8, 5, 11
    x, w, _ = layer(batch * length, d, c, rng)
    x = x.reshape(batch, length, d)
    flat, _ = target_of(kind, batch * length, c, rng)

    def shaped(array):
        return array.reshape(batch, length, *array.shape[1:])

    target = tuple(map(shaped, flat)) if kind == "sparse" else shaped(flat)

    def later(array):
        return array[:, shift:]

    weights = rng.random((batch, length)) + 0.1
    found = crossent.linear_cross_entropy(x, w, target, shift=shift, sample_weight=weights, return_accuracy=True)
    cut = tuple(map(later, target)) if kind == "sparse" else later(target)
    plain = crossent.linear_cross_entropy(
        x[:, : length - shift], w, cut, sample_weight=later(weights), return_accuracy=True
    )
    assert found.loss == pytest.approx(plain.loss, rel=1e-14)
    assert np.allclose(found.x_grad[:, : length - shift], plain.x_grad, rtol=1e-13, atol=1e-15)
    assert not found.x_grad[:, length - shift :].any()
    assert np.allclose(found.weight_grad, plain.weight_grad, rtol=1e-12, atol=1e-14)
    assert found.accuracy == plain.accuracy or (shift == length and np.isnan(found.accuracy))


def test_lse_and_accuracy_come_from_the_same_pass(rng):
    x, w, b = layer(300, 12, 2100, rng)
    z = x @ w.T + b
    labels = np.where(rng.random(300) < 0.5, z.argmax(axis=1), rng.integers(0, 2100, 300))
    found = crossent.linear_cross_entropy(x, w, labels, bias=b, needs=(), return_lse=True, return_accuracy=True)
    assert found.x_grad is None
    assert found.weight_grad is None
    assert found.accuracy == np.mean(z.argmax(axis=1) == labels)
    assert np.allclose(found.lse, np.logaddexp.reduce(z, axis=1), rtol=1e-14)


@pytest.mark.parametrize("kind", ["distributions", "sparse"])
def test_the_derivative_by_the_target_is_that_of_finite_differences(kind, level, rng):
    n, d, c = 9, 4, 12
    x, w, b = layer(n, d, c, rng)
    target, _ = target_of(kind, n, c, rng)
    options = {"class_weight": rng.random(c), "label_smoothing": 0.1, "sample_weight": rng.random(n)}

    def loss(values):
        given = (target[0], values) if kind == "sparse" else values
        return crossent.linear_cross_entropy(x, w, given, bias=b, needs=(), **options).loss

    values = target[1] if kind == "sparse" else target
    found = crossent.linear_cross_entropy(x, w, target, bias=b, return_target_grad=True, **options).target_grad
    direction = rng.random(values.shape)
    step = 1e-6
    # The loss is linear in the truth, so the difference has no error but rounding.
    slope = (loss(values + step * direction) - loss(values)) / step
    assert slope == pytest.approx((found * direction).sum(), rel=1e-7)


def test_gradients_are_those_of_finite_differences(level, rng):
    x, w, b = layer(7, 4, 9, rng)
    labels = rng.integers(0, 9, 7)
    options = {"softcap": 2.5, "logit_scale": 0.7, "z_loss": 0.05, "label_smoothing": 0.1}

    def loss(x, w, b):
        return crossent.linear_cross_entropy(x, w, labels, bias=b, needs=(), **options).loss

    found = crossent.linear_cross_entropy(x, w, labels, bias=b, **options)
    for place, grad in enumerate(found[1:4]):
        direction = rng.normal(size=grad.shape)
        ahead, behind = [x, w, b], [x, w, b]
        ahead[place] = ahead[place] + 1e-5 * direction
        behind[place] = behind[place] - 1e-5 * direction
        slope = (loss(*ahead) - loss(*behind)) / 2e-5
        assert slope == pytest.approx((grad * direction).sum(), rel=1e-7)


class MatmulProducts:
    """Products by NumPy, as another library would give them to the loop."""

    def __init__(self, x, w):
        self.x, self.w = x, w
        self.x_grad, self.weight_grad = np.zeros_like(x), np.zeros_like(w)

    def logits(self, rows, classes, out):
        np.matmul(self.x[rows], self.w[classes].T, out=out)

    def add_x_grad(self, rows, classes, grad):
        self.x_grad[rows] += grad @ self.w[classes]

    def add_weight_grad(self, rows, classes, grad):
        self.weight_grad[classes] += grad.T @ self.x[rows]


@pytest.mark.parametrize("kind", ["labels", "distributions", "sparse"])
@pytest.mark.parametrize("budget", ["3MiB", "64MiB"])
def test_the_loop_with_products_of_another_library_gives_the_same(kind, budget, rng):
    n, d, c = 700, 16, 2500
    x, w, b = layer(n, d, c, rng)
    target, _ = target_of(kind, n, c, rng)
    truth = head_truth(target, (n,), c, w, label_smoothing=0.1)
    plan = crossent.head_plan(truth.count, d, c, dtype=float, max_memory=budget)
    products = MatmulProducts(x, w)
    found = run_head(
        products,
        truth,
        plan,
        dtype=float,
        bias=b,
        scale=1 / truth.denominator,
        needs_bias=True,
        needs_target=kind != "labels",
    )
    whole = crossent.linear_cross_entropy(
        x, w, target, bias=b, label_smoothing=0.1, return_target_grad=kind != "labels"
    )
    assert found.losses.sum() / truth.denominator == pytest.approx(whole.loss, rel=1e-13)
    assert_close(products.x_grad, whole.x_grad, 1e-12, "x")
    assert_close(products.weight_grad, whole.weight_grad, 1e-12, "weight")
    assert_close(found.bias_grad, whole.bias_grad, 1e-12, "bias")
    if kind != "labels":
        assert_close(found.target_grad, whole.target_grad[truth.given], 1e-12, "target")


def test_the_loop_thins_as_the_native_products_do(rng):
    n, d, c = 300, 8, 1500
    x, w, _ = layer(n, d, c, rng)
    labels, _ = target_of("labels", n, c, rng)
    truth = head_truth(labels, (n,), c, w)
    products = MatmulProducts(x, w)
    plan = crossent.head_plan(truth.count, d, c, dtype=float)
    run_head(products, truth, plan, dtype=float, scale=1 / truth.denominator, threshold=1 / 64, seed=9)
    whole = crossent.linear_cross_entropy(x, w, labels, gradient="unbiased", threshold=1 / 64, seed=9)
    assert_close(products.x_grad, whole.x_grad, 1e-12, "x")
    assert_close(products.weight_grad, whole.weight_grad, 1e-12, "weight")
