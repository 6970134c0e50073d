"""PyTorch's cross_entropy, option by option: the same numbers, and the differences that are meant."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import crossent

torch = pytest.importorskip("torch")
F = torch.nn.functional

# float32: PyTorch's own error on rows that are not confident; float64: what the two formulas may differ in.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 3e-2, torch.float16: 4e-3}
SHAPES = [(3,), (1, 2), (5, 4), (4, 1), (6, 130), (2, 3, 4), (2, 5, 3, 2), (3, 2, 2, 1, 2)]


@pytest.fixture(autouse=True)
def _one_thread():
    """Two pools of threads that wait for work by spinning would fight for the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytorch(logits, target, **options):
    z = logits.clone().requires_grad_()
    loss = F.cross_entropy(z, target, **options)
    return loss.detach(), torch.autograd.grad(loss.sum(), z)[0]


def check(logits, target, options, tolerance):
    loss, grad = pytorch(logits, target, **options)
    axis = 0 if logits.ndim == 1 else 1
    got = crossent.cross_entropy_and_grad(logits, target, axis=axis, **options)
    assert np.shape(got.loss) == tuple(loss.shape)
    for ours, theirs in ((got.loss, loss), (got.grad, grad)):
        theirs = theirs.double().numpy()
        np.testing.assert_allclose(np.asarray(ours, float), theirs, rtol=tolerance, atol=tolerance)


def cases():
    """Yield what PyTorch takes: class weights, smoothing, ignored labels, reductions, labels or distributions."""
    yield from itertools.product(
        ("labels", "ignored", "ignored class", "distributions"),
        (False, True),
        (0.0, 0.1, 1.0),
        ("none", "sum", "mean"),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_option_at_every_shape(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    classes = shape[0] if len(shape) == 1 else shape[1]
    rows = shape[:0] if len(shape) == 1 else (shape[0], *shape[2:])
    for truth, weighted, smoothing, reduction in cases():
        logits = 3 * torch.randn(shape, generator=generator, dtype=dtype)
        options = {"reduction": reduction, "label_smoothing": smoothing}
        if weighted:
            options["weight"] = torch.rand(classes, generator=generator, dtype=dtype) + 0.1
        if truth == "distributions":
            target = torch.softmax(torch.randn(shape, generator=generator, dtype=dtype), 0 if len(shape) == 1 else 1)
        else:
            target = torch.randint(0, classes, rows, generator=generator)
            if truth == "ignored" and target.numel() > 1:
                target.view(-1)[::2] = -100
            if truth == "ignored class":
                options["ignore_index"] = 0
                if bool((target == 0).all()):
                    continue
        check(logits, target, options, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_sixteen_bits(dtype, reduction, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((8, 5), generator=generator).to(dtype)
    target = torch.randint(0, 5, (8,), generator=generator)
    check(logits, target, {"reduction": reduction}, TOLERANCE[dtype])


def samples():
    """PyTorch's own sample inputs of its operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torch.testing._internal.common_methods_invocations import op_db
        except ImportError as error:
            pytest.skip(f"PyTorch's own samples need {error.name}")
        op = next(op for op in op_db if op.name == "nn.functional.cross_entropy")
        return [*op.sample_inputs("cpu", torch.float64, requires_grad=False)]


@pytest.mark.slow
def test_the_sample_inputs_of_pytorch_itself():
    """All of them but the empty mean, which is NaN there and 0 here."""
    compared = 0
    for sample in samples():
        logits, (target, *_), options = sample.input, sample.args, dict(sample.kwargs)
        options.setdefault("reduction", "mean")
        # Drawn with both signs there; a weight or a probability below 0 is an error here.
        if "weight" in options:
            options["weight"] = options["weight"].abs()
        if target.is_floating_point():
            target = target.abs()
        loss, _ = pytorch(logits, target, **options)
        if bool(torch.isnan(loss).any()) and options["reduction"] == "mean":
            assert crossent.cross_entropy(logits, target, axis=min(1, logits.ndim - 1), **options) == 0.0
            continue
        check(logits, target, options, 1e-12)
        compared += 1
    assert compared > 15


def test_minus_infinity_at_the_target_and_elsewhere():
    for logits, label in (([1.0, -np.inf, 2.0], 0), ([1.0, -np.inf, 2.0], 1), ([-np.inf, -np.inf, 0.0], 2)):
        z, y = torch.tensor([logits], dtype=torch.float64), torch.tensor([label])
        loss, grad = pytorch(z, y)
        got = crossent.cross_entropy_and_grad(z, y)
        np.testing.assert_allclose(got.loss, loss.numpy(), rtol=1e-14)
        np.testing.assert_allclose(got.grad, grad.numpy(), rtol=1e-14, atol=1e-16)


def test_different_all_ignored_is_zero_here_and_nan_there():
    z, y = torch.zeros((2, 3)), torch.full((2,), -100)
    assert torch.isnan(F.cross_entropy(z, y))
    assert crossent.cross_entropy(z, y) == 0.0


def test_different_no_rows_are_zero_here_and_nan_there():
    z, y = torch.zeros((0, 3)), torch.zeros(0, dtype=torch.long)
    assert torch.isnan(F.cross_entropy(z, y))
    assert crossent.cross_entropy(z, y) == 0.0


def test_different_a_confident_row_keeps_its_loss_and_gradient_here():
    z, y = torch.tensor([[40.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    loss, grad = pytorch(z, y)
    assert loss == 0.0
    assert grad[0, 0] == 0.0
    got = crossent.cross_entropy_and_grad(z, y)
    assert got.loss == pytest.approx(np.exp(-40.0), rel=1e-15)
    assert got.grad[0, 0] == pytest.approx(-np.exp(-40.0), rel=1e-15)


def test_different_a_masked_class_without_truth_is_not_nan_here():
    z = torch.tensor([[1.0, -np.inf, 2.0]], dtype=torch.float64)
    p = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.isnan(F.cross_entropy(z, p))
    assert crossent.cross_entropy(z, p) == pytest.approx(1.3132616875182228, rel=1e-15)


def test_different_an_ignored_row_with_nan_stays_zero_in_its_gradient():
    z = torch.tensor([[np.nan, 0.0], [1.0, 0.0]], dtype=torch.float64)
    got = crossent.cross_entropy_and_grad(z, torch.tensor([-100, 1]))
    assert np.isfinite(got.loss)
    assert np.array_equal(got.grad[0], [0.0, 0.0])
