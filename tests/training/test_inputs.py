"""The same rows in another form train the same model."""

import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array, csr_matrix

from crossent.estimators.features import as_rows
from crossent.training import Examples, Problem
from crossent.training.network import native_rows

N, D, C = 150, 40, 5


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def dense_rows(rng, share=0.15):
    x = rng.normal(size=(N, D)) + 0.5
    x[rng.uniform(size=x.shape) > share] = 0
    x[3] = 0
    x[:, 7] = 0
    return x


def problem(x, hidden=(), *, labels=None, probs=None, center=True, alpha=0.05, dtype=None, batch_size=16, **more):
    if labels is None and probs is None:
        labels = np.random.default_rng(0).integers(C, size=N)
    classes = C if probs is None else probs.shape[1]
    return Problem(
        Examples(x, classes, labels=labels, probs=probs, **more),
        hidden,
        alpha=alpha,
        batch_size=batch_size,
        center=center,
    )


def parameters(of):
    size = len(of.initial_parameters(np.random.default_rng(0)))
    return 0.3 * np.random.default_rng(4).normal(size=size)


def trained(of, *, epochs=3, state_vectors=1, **options):
    """Return the parameters, the optimizer's state and the loss after some epochs of falling steps."""
    theta = parameters(of).astype(of.examples.dtype)
    state = np.random.default_rng(9).uniform(0, 0.1, size=theta.size * state_vectors).astype(theta.dtype)
    order = np.concatenate([np.random.default_rng(k).permutation(of.kept) for k in range(epochs)])
    bounds = np.unique(np.concatenate([of.bounds + k * len(of.kept) for k in range(epochs)]))
    rates = np.linspace(0.2, 0.01, len(bounds) - 1)
    steps, loss = of.descend(theta, state, order, bounds, rates, **({"momentum": 0.9} | options))
    assert steps == len(rates)
    return theta, state, loss


def assert_same(one, other, rtol=1e-9, atol=1e-11):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_steps_on_touched_rows_alone_are_the_dense_steps(rng, hidden, center, alpha, momentum, nesterov):
    x = dense_rows(rng)
    options = {"momentum": momentum, "nesterov": nesterov}
    dense = trained(problem(x, hidden, center=center, alpha=alpha), **options)
    sparse = trained(problem(csr_array(x), hidden, center=center, alpha=alpha), **options)
    assert_same(sparse, dense)


def test_long_absence_of_a_feature_is_caught_up_with(rng):
    x = dense_rows(rng, 0.02)
    x[0, 11] = 3.0
    dense, sparse = (trained(problem(form, batch_size=1), epochs=3) for form in (x, csr_array(x)))
    assert_same(sparse, dense)


@pytest.mark.parametrize(
    "options",
    [
        {"l1": 0.02},
        {"optimizer": 1, "state_vectors": 2},
        {"optimizer": 2},
        {"average": True},
        {"rate_scale": np.array([0.5, 2.0])},
    ],
    ids=str,
)
def test_other_optimizers_take_sparse_rows(rng, options):
    x = dense_rows(rng)
    results = []
    for form in (x, csr_array(x)):
        of = problem(form)
        more = dict(options)
        if "average" in more:
            more["average"] = np.zeros(len(parameters(of)))
        results.append(trained(of, **more) + ((more["average"],) if "average" in more else ()))
    assert_same(results[1], results[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("hidden", [(), (6,)])
@pytest.mark.parametrize("center", [False, True])
def test_gradient_and_loss_of_sparse_rows_are_those_of_dense_ones(rng, hidden, center):
    x = dense_rows(rng)
    dense, sparse = (problem(form, hidden, center=center, batch_size=N) for form in (x, csr_array(x)))
    theta = parameters(dense)
    assert_same(sparse.gradient(theta), dense.gradient(theta))
    assert sparse.loss(theta, sparse.kept[::-1].copy()) == pytest.approx(dense.loss(theta, dense.kept), rel=1e-12)


def test_single_precision_stays_near_the_double(rng):
    x = dense_rows(rng)
    double = trained(problem(csr_array(x)))
    single = trained(problem(csr_array(x.astype(np.float32))))
    assert single[0].dtype == np.float32
    assert_same(single, double, rtol=2e-4, atol=2e-5)


def test_entries_may_repeat_and_lie_in_any_order(rng):
    x = csr_array(dense_rows(rng))
    shuffled = x.copy()
    for i in range(N):
        entries = slice(x.indptr[i], x.indptr[i + 1])
        turned = rng.permutation(np.arange(x.indptr[i], x.indptr[i + 1]))
        shuffled.indices[entries], shuffled.data[entries] = x.indices[turned], x.data[turned]
    doubled = csr_array((np.repeat(x.data / 2, 2), np.repeat(x.indices, 2), x.indptr * 2), shape=x.shape)
    expected = trained(problem(x))
    assert_same(trained(problem(shuffled)), expected)
    assert_same(trained(problem(doubled)), expected)


def read_only(x):
    x = x.copy()
    x.setflags(write=False)
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        read_only,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
    ],
    ids=["Fortran order", "read-only", "every other row", "every other column", "backwards"],
)
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_layout_changes_no_bit(rng, form, dtype, hidden):
    x = dense_rows(rng).astype(dtype)
    center = x.mean(axis=0)
    given, other_form = (problem(rows, hidden, center=center) for rows in (x, form(x)))
    for one, other in zip(trained(given), trained(other_form), strict=True):
        np.testing.assert_array_equal(one, other)


def test_mapped_file_is_read_in_place(rng, tmp_path):
    x = dense_rows(rng)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for one, other in zip(trained(problem(mapped)), trained(problem(x)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_bytes_are_scaled_as_they_are_read(rng, hidden, order):
    x = rng.integers(256, size=(N, D)).astype(np.uint8, order=order)
    scaled = x.astype(np.float32) * np.float32(1 / 255)
    results = [trained(problem(form, hidden, byte_scale=1 / 255)) for form in (x, scaled)]
    assert results[0][0].dtype == np.float32
    assert_same(results[0], results[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("center", [False, True])
def test_sparse_soft_labels_are_the_dense_ones(rng, center):
    x, probs = dense_rows(rng), rng.dirichlet(np.full(9, 0.2), size=N)
    probs[probs < 0.1] = 0
    probs /= probs.sum(axis=1, keepdims=True)
    weight, class_weight = rng.uniform(0.5, 2, size=N), rng.uniform(0.5, 2, size=9)
    more = {"sample_weight": weight, "class_weight": class_weight, "label_smoothing": 0.1, "center": center}
    dense, sparse = problem(x, probs=probs, **more), problem(csr_array(x), probs=csr_array(probs), **more)
    np.testing.assert_allclose(sparse.row_mass, dense.row_mass, rtol=1e-12)
    np.testing.assert_allclose(sparse.examples.class_mass(), dense.examples.class_mass(), rtol=1e-12)
    assert_same(trained(sparse), trained(dense))


def test_measures_of_sparse_rows_are_the_dense_ones(rng):
    x = dense_rows(rng)
    dense, sparse = (problem(form).centred(np.arange(0, N, 2)) for form in (x, csr_matrix(x)))
    vector, mass = rng.normal(size=D), rng.dirichlet(np.ones(N // 2))
    np.testing.assert_allclose(sparse.times(vector), dense.times(vector), rtol=1e-10)
    np.testing.assert_allclose(sparse.transposed_times(mass), dense.transposed_times(mass), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(sparse.square_lengths(), dense.square_lengths(), rtol=1e-10)
    np.testing.assert_allclose(sparse.mean_squares(mass), dense.mean_squares(mass), rtol=1e-10, atol=1e-14)


def test_many_classes_and_features_take_memory_for_the_batch_alone():
    classes, features = 100_000, 8
    labels = np.arange(N) * 17 % classes
    x = csr_array(np.random.default_rng(0).normal(size=(N, features)).astype(np.float32))
    of = problem(x, probs=csr_array((np.ones(N, np.float32), labels, np.arange(N + 1)), shape=(N, classes)))
    theta = of.initial_parameters(np.random.default_rng(0))
    before = of.loss(theta, of.kept)
    steps, _ = of.descend(theta, np.zeros_like(theta), of.kept, of.bounds, np.full(of.n_batches, 2.0), momentum=0.0)
    assert steps == of.n_batches
    assert of.loss(theta, of.kept) < before


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda x: x.indices.__setitem__(5, D), "indices must lie in"),
        (lambda x: x.indices.__setitem__(5, -1), "indices must lie in"),
        (lambda x: x.indptr.__setitem__(N, x.nnz + 1), "indptr must lie within"),
        (lambda x: x.indptr.__setitem__(4, x.indptr[6] + 1), "indptr must not fall"),
    ],
)
def test_broken_sparse_matrix_is_refused(rng, break_it, message):
    x = csr_array(dense_rows(rng))
    of = problem(x)
    break_it(x)
    with pytest.raises(ValueError, match=message):
        native_rows(of.examples)


@pytest.mark.parametrize("n_threads", [2, 3, 5])
@pytest.mark.parametrize("hidden", [(), (300,), (20, 30)])
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_threads_change_no_bit(rng, form, hidden, n_threads):
    x = np.tile(dense_rows(rng), (4, 1)).astype(np.float32)
    labels = np.random.default_rng(0).integers(C, size=len(x))
    results = []
    for threads in (1, n_threads):
        of = Problem(
            Examples(form(x), C, labels=labels), hidden, alpha=0.01, batch_size=128, center=True, n_threads=threads
        )
        results.append(trained(of))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_csc_becomes_csr_without_becoming_dense():
    x = csc_array(np.array([[0.0, 2.0], [1.0, 0.0]]))
    rows = as_rows(x, np.dtype(np.float32))
    assert rows.format == "csr"
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows.toarray(), x.toarray())
