"""What ours has beyond PyTorch's: weights of rows, denominators, z-loss, lse, log-mean, in place; and what it keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crossent import reference  # noqa: E402
from crossent.torch import CrossEntropyLoss, cross_entropy, formulas  # noqa: E402
from crossent.torch.call import checked_call  # noqa: E402

F = torch.nn.functional
LABELS = torch.tensor([0, 3, -100, 1, 2, 3])


@pytest.fixture
def z(seed):
    return 3 * torch.randn((6, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_formulas(z, target, reduction="mean", **options):
    weight, smoothing = options.pop("weight", None), options.pop("label_smoothing", 0.0)
    return formulas.cross_entropy(checked_call(z, target, weight, -100, reduction, smoothing, **options))


@pytest.mark.parametrize("loss", [cross_entropy, by_formulas])
@pytest.mark.parametrize("kind", ["labels", "distributions"])
def test_every_option_agrees_with_the_specification(loss, kind, z):
    target = LABELS if kind == "labels" else torch.softmax(z.flip(1), dim=1)
    weight = torch.tensor([1.0, 0.5, 2.0, 0.0], dtype=torch.float64)
    rows = torch.tensor([1.0, 2.0, 3.0, 0.0, 0.5, 1.0], dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        for options in (
            {"sample_weight": rows},
            {"z_loss": 0.1, "weight": weight},
            {"z_loss": 0.1, "sample_weight": rows, "weight": weight, "label_smoothing": 0.2},
            {"normalizer": 7.5} if reduction == "mean" else {},
        ):
            x = z.clone().requires_grad_()
            got = loss(x, target, reduction=reduction, **options)
            grad = torch.autograd.grad(got.sum(), x)[0]
            arrays = {k: v.numpy() if torch.is_tensor(v) else v for k, v in options.items()}
            want = reference.cross_entropy_and_grad(z.numpy(), target.numpy(), reduction=reduction, **arrays)
            np.testing.assert_allclose(got.detach(), want.loss, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(grad, want.grad, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
def test_labels_of_any_integer_type(dtype, z):
    labels = LABELS.clamp(min=0)
    assert torch.equal(cross_entropy(z, labels.to(dtype)), cross_entropy(z, labels))


def test_parts_of_a_batch_add_up_with_a_normalizer(z):
    kept = (LABELS != -100).sum()
    parts = [cross_entropy(z[rows], LABELS[rows], normalizer=kept) for rows in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(sum(parts), cross_entropy(z, LABELS))


def test_lse_is_returned_and_differentiable(z):
    x = z.clone().requires_grad_()
    loss, lse = cross_entropy(x, LABELS, return_lse=True)
    torch.testing.assert_close(lse, torch.logsumexp(z, 1))
    (grad,) = torch.autograd.grad(loss + 0.1 * (lse**2).sum(), x)
    torch.testing.assert_close(
        grad, torch.autograd.grad(F.cross_entropy(x, LABELS) + 0.1 * (x.logsumexp(1) ** 2).sum(), x)[0]
    )


def test_a_module_takes_the_options_too(z):
    rows = torch.arange(6.0, dtype=torch.float64)
    got = CrossEntropyLoss(z_loss=0.1, return_lse=True)(z, LABELS, sample_weight=rows, normalizer=3)
    want = cross_entropy(z, LABELS, z_loss=0.1, return_lse=True, sample_weight=rows, normalizer=3)
    assert all(torch.equal(a, b) for a, b in zip(got, want))


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_log_mean_is_the_logarithm_of_the_mean(z, scale):
    x = (scale * z).requires_grad_()
    rows = torch.tensor([1.0, 2.0, 3.0, 0.0, 0.5, 1.0], dtype=torch.float64)
    for options in ({}, {"sample_weight": rows}, {"label_smoothing": 0.1}, {"normalizer": 2.5}):
        got = cross_entropy(x, LABELS, reduction="log-mean", **options)
        want = cross_entropy(x, LABELS, **options).log()
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(
            torch.autograd.grad(got, x)[0], torch.autograd.grad(want, x)[0], rtol=1e-9, atol=1e-11
        )


def test_log_mean_has_no_smallest_loss():
    z = torch.tensor([[5000.0, 0.0], [0.0, 6000.0]], requires_grad=True)
    loss = cross_entropy(z, torch.tensor([0, 1]), reduction="log-mean")
    loss.backward()
    assert loss.item() == pytest.approx(-5000 - math.log(2))
    torch.testing.assert_close(z.grad, torch.tensor([[-1.0, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_in_place_the_gradient_takes_the_place_of_the_logits(dtype, reduction, z):
    leaf = z.to(dtype).requires_grad_()
    bar = torch.ones(6, dtype=dtype) if reduction == "none" else torch.tensor(2.0, dtype=dtype)
    (want,) = torch.autograd.grad(cross_entropy(leaf, LABELS, reduction=reduction), leaf, bar)
    logits = leaf.clone()
    loss = cross_entropy(logits, LABELS, reduction=reduction, inplace=True)
    (got,) = torch.autograd.grad(loss, logits, bar)
    assert torch.equal(got, want)
    assert got.data_ptr() == logits.data_ptr()


def test_in_place_through_a_view(z):
    leaf = z.clone().requires_grad_()
    (want,) = torch.autograd.grad(cross_entropy(2 * leaf, LABELS), leaf)
    logits = (2 * leaf).reshape(2, 3, 4)
    (got,) = torch.autograd.grad(cross_entropy(logits.view(6, 4), LABELS, inplace=True), leaf)
    assert torch.equal(got, want)


def test_in_place_refuses_what_would_be_silently_wrong(z):
    leaf = z.clone().requires_grad_()
    with pytest.raises(ValueError, match="leaf"):
        cross_entropy(leaf, LABELS, inplace=True)
    logits = leaf.clone()
    loss = cross_entropy(logits, LABELS, inplace=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(loss, leaf, create_graph=True)
    logits = leaf.exp()  # its backward needs its own result
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        cross_entropy(logits, LABELS, inplace=True).backward()


def test_an_ignored_row_contributes_nothing_whatever_it_holds(z):
    rows = torch.ones(6, dtype=torch.float64)
    rows[4] = 0.0
    bad = z.clone()
    bad[2], bad[4] = torch.nan, torch.tensor([torch.nan, -torch.inf, torch.inf, 0.0])
    for loss in (cross_entropy, by_formulas):
        x = bad.clone().requires_grad_()
        got = loss(x, LABELS, sample_weight=rows)
        (grad,) = torch.autograd.grad(got, x)
        torch.testing.assert_close(got, cross_entropy(z, LABELS, sample_weight=rows))
        assert torch.equal(grad[[2, 4]], torch.zeros((2, 4), dtype=z.dtype))
        assert bool(torch.isfinite(grad).all())


def test_masked_classes_without_truth_leave_no_nan(z):
    p = torch.softmax(z, 1)
    p[:, 1] = 0.0
    masked = z.clone()
    masked[:, 1] = -torch.inf
    for loss in (cross_entropy, by_formulas):
        x = masked.clone().requires_grad_()
        got = loss(x, p)
        (grad,) = torch.autograd.grad(got, x)
        kept = [0, 2, 3]
        torch.testing.assert_close(got, F.cross_entropy(z[:, kept], p[:, kept]))
        assert torch.equal(grad[:, 1], torch.zeros(6, dtype=z.dtype))


def test_counts_are_exact_in_sixteen_bits():
    for dtype, n in ((torch.float16, 70_000), (torch.bfloat16, 257)):
        z = torch.zeros((n, 2), dtype=dtype, requires_grad=True)
        loss = cross_entropy(z, torch.zeros(n, dtype=torch.long))
        loss.backward()
        assert loss == torch.tensor(math.log(2)).to(dtype)
        assert torch.equal(z.grad[:, 1], torch.tensor(0.5 / n).to(dtype).expand(n))


def test_bfloat16_is_rounded_once_after_the_cotangent(z):
    x = z.bfloat16().requires_grad_()
    (grad,) = torch.autograd.grad(cross_entropy(x, LABELS) / 3, x)
    wide = x.detach().double().requires_grad_()
    third = (torch.ones((), dtype=torch.bfloat16) / 3).double()
    (exact,) = torch.autograd.grad(cross_entropy(wide, LABELS), wide, third)
    torch.testing.assert_close(grad, exact.bfloat16(), rtol=0.0, atol=0.0)


def test_a_scaled_loss_keeps_small_gradients_in_float16():
    z = torch.tensor([[12.0, 0.0]], dtype=torch.float16, requires_grad=True)
    loss = cross_entropy(z.expand(1000, 2), torch.zeros(1000, dtype=torch.long))
    each = torch.autograd.grad(loss * 2.0**15, z)[0]
    assert each[0, 1].item() == pytest.approx(2.0**15 / (1 + math.exp(12.0)), rel=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_loss": -1.0}, "z_loss = -1.0: expected a finite number of at least 0"),
        ({"normalizer": 0.0}, "normalizer = 0.0: expected a positive finite number"),
        ({"normalizer": 2.0, "reduction": "sum"}, "only a mean divides"),
        ({"sample_weight": torch.ones(5)}, r"sample_weight has shape \(5,\): expected \(6,\)"),
    ],
)
def test_a_mistake_in_an_option_names_it(options, message, z):
    with pytest.raises(ValueError, match=message):
        cross_entropy(z, LABELS, **options)
