"""Where frameworks mean different things by the same options; their own tests run in test_other_projects.py."""

from __future__ import annotations

import numpy as np
import pytest

import crossent
from crossent.conventions import CONVENTIONS

EPSILON = 0.1


@pytest.fixture
def batch(rng):
    z = 2 * rng.standard_normal((7, 5))
    y = np.array([0, 4, -100, 2, 2, 1, -100])
    return z, y, 0.5 + rng.random(5), 0.5 + rng.random(7)


def of_label(w, y):
    return np.where(y >= 0, w[np.maximum(y, 0)], 0)


def by_hand(z, p):
    """Return -Σ p log softmax(z), of rows that are nowhere confident."""
    return -(p * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))).sum(axis=1)


def smoothed(y, classes, spread):
    return (1 - spread) * np.eye(classes)[np.maximum(y, 0)] + spread / classes


def test_torch_divides_by_the_weights_and_weighs_classes(batch):
    z, y, w, s = batch
    rows = np.where(y >= 0, s * by_hand(z, w * smoothed(y, 5, EPSILON)), 0)
    expected = rows.sum() / (s * of_label(w, y)).sum()
    got = crossent.cross_entropy(z, y, weight=w, sample_weight=s, label_smoothing=EPSILON, convention="torch")
    assert got == pytest.approx(expected, rel=1e-13)


def test_keras_divides_by_the_kept_rows_and_weighs_rows(batch):
    z, y, w, s = batch
    rows = s * of_label(w, y) * by_hand(z, smoothed(y, 5, EPSILON))
    options = {"weight": w, "sample_weight": s, "label_smoothing": EPSILON, "convention": "keras"}
    assert crossent.cross_entropy(z, y, **options) == pytest.approx(rows.sum() / 5, rel=1e-13)
    one_hot = np.eye(5)[y[y >= 0]]
    options["sample_weight"] = s[y >= 0]
    assert crossent.cross_entropy(z[y >= 0], one_hot, **options) == pytest.approx(rows.sum() / 5, rel=1e-13)


def test_optax_divides_by_all_rows(batch):
    z, y, _, s = batch
    rows = np.where(y >= 0, s * by_hand(z, smoothed(y, 5, EPSILON)), 0)
    got = crossent.cross_entropy(z, y, sample_weight=s, label_smoothing=EPSILON, convention="optax")
    assert got == pytest.approx(rows.mean(), rel=1e-13)


def test_megatron_spreads_over_the_other_classes(batch):
    z, y, _, s = batch
    p = np.full((7, 5), EPSILON / 4)
    p[np.arange(7), np.maximum(y, 0)] = 1 - EPSILON
    expected = np.where(y >= 0, s * by_hand(z, p), 0).sum() / s[y >= 0].sum()
    options = {"sample_weight": s, "label_smoothing": EPSILON, "convention": "megatron"}
    assert crossent.cross_entropy(z, y, **options) == pytest.approx(expected, rel=1e-13)


def test_the_gradient_follows_the_convention(batch):
    z, y, w, s = batch
    for name, convention in CONVENTIONS.items():
        options = {"sample_weight": s, "convention": name}
        if convention.weight:
            options["weight"] = w
        if convention.smoothing:
            options["label_smoothing"] = EPSILON
        grad = crossent.cross_entropy_and_grad(z, y, **options).grad
        direction = np.random.default_rng(0).standard_normal(z.shape)
        h = 1e-6
        ahead, behind = (crossent.cross_entropy(z + step * direction, y, **options) for step in (h, -h))
        assert (grad * direction).sum() == pytest.approx((ahead - behind) / (2 * h), rel=1e-6), name


def test_without_options_all_agree_on_rows(rng):
    z, y = rng.standard_normal((4, 3)), np.array([0, 1, 2, 0])
    expected = crossent.cross_entropy(z, y)
    for name in CONVENTIONS:
        assert crossent.cross_entropy(z, y, convention=name) == expected


REFUSED = {
    "optax has no class weights": ({"convention": "optax", "weight": [1, 1, 1]}, ValueError, "no class weights"),
    "megatron has no class weights": ({"convention": "megatron", "weight": [1, 1, 1]}, ValueError, "no class weights"),
    "onnx has no smoothing": ({"convention": "onnx", "label_smoothing": 0.1}, ValueError, "label_smoothing = 0.1"),
    "megatron's label keeps some": ({"convention": "megatron", "label_smoothing": 0.7}, ValueError, "at most 2/3"),
    "no such convention": ({"convention": "jax"}, ValueError, "convention = 'jax': expected one of 'torch', 'keras'"),
    "no name": ({"convention": 1}, ValueError, "convention = 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_convention_does_not_have_is_refused(name):
    options, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        crossent.cross_entropy(np.zeros((1, 3)), [0], **options)


def test_onnx_takes_labels_alone():
    with pytest.raises(TypeError, match="the only labels in the convention"):
        crossent.cross_entropy(np.zeros((1, 3)), np.ones((1, 3)), convention="onnx")


@pytest.mark.filterwarnings("ignore")
def test_megatrons_own_function_gives_the_same(rng, tmp_path):
    torch = pytest.importorskip("torch")
    parallel_state = pytest.importorskip("megatron.core.parallel_state")
    from megatron.core.tensor_parallel.cross_entropy import vocab_parallel_cross_entropy

    z, y = 3 * rng.standard_normal((6, 2, 9)).astype(np.float32), rng.integers(0, 9, (6, 2))
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        parallel_state.initialize_model_parallel(1, 1)
        for smoothing in (0.0, EPSILON, 0.3):
            leaf = torch.tensor(z, requires_grad=True)
            theirs = vocab_parallel_cross_entropy(leaf.clone(), torch.tensor(y), smoothing)
            theirs.sum().backward()
            options = {"label_smoothing": smoothing, "reduction": "none", "convention": "megatron"}
            ours = crossent.cross_entropy_and_grad(z, y, **options)
            np.testing.assert_allclose(ours.loss, theirs.detach(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(ours.grad, leaf.grad, rtol=1e-5, atol=1e-6)
    finally:
        parallel_state.destroy_model_parallel()
        torch.distributed.destroy_process_group()
