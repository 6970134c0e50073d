"""The other losses in PyTorch: the NumPy family's values and gradients, confident rows too, and their own theory."""

from __future__ import annotations

import numpy as np
import pytest

from crossent import family

torch = pytest.importorskip("torch")

import crossent.torch as ct  # noqa: E402

# PyTorch's forward derivatives script their own decompositions when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
CASES = {
    "focal": (ct.focal_loss, family.Focal(2.0), {"gamma": 2.0}),
    "focal, root": (ct.focal_loss, family.Focal(0.5), {"gamma": 0.5}),
    "poly-1": (ct.poly1_loss, family.Poly1(1.0), {"epsilon": 1.0}),
    "generalised": (ct.generalized_cross_entropy, family.GeneralizedCrossEntropy(0.7), {"q": 0.7}),
    "absolute": (ct.generalized_cross_entropy, family.GeneralizedCrossEntropy(1.0), {"q": 1.0}),
    "symmetric": (
        ct.symmetric_cross_entropy,
        family.SymmetricCrossEntropy(0.5, 2.0, -4.0),
        {"alpha": 0.5, "beta": 2.0, "A": -4.0},
    ),
}


@pytest.fixture
def z(seed):
    return 2 * torch.randn((6, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["labels", "distributions"])
def test_values_and_gradients_are_the_familys(name, kind, z):
    loss, peer, options = CASES[name]
    z[0] = torch.tensor([60.0, 0.0, 1.0, 0.5])
    target = torch.tensor([0, 1, 2, 3, 0, 1]) if kind == "labels" else torch.softmax(z.flip(1), 1)
    x = z.clone().requires_grad_()
    got = loss(x, target, reduction="none", **options)
    (grad,) = torch.autograd.grad(got.sum(), x)
    value, gradient = family.value_and_logit_gradient(peer, z.numpy(), target.numpy())
    np.testing.assert_allclose(got.detach(), value, rtol=1e-11)
    # Entries that are the difference of two terms are compared with the row's largest.
    scale = np.abs(gradient).max(axis=1, keepdims=True)
    np.testing.assert_allclose(grad.numpy() / scale, gradient / scale, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_a_confident_row_keeps_its_gradient_in_float32(name):
    loss, peer, options = CASES[name]
    z = torch.tensor([[30.0, 0.0, 0.5]], requires_grad=True)
    (grad,) = torch.autograd.grad(loss(z, torch.tensor([0]), **options), z)
    _, want = family.value_and_logit_gradient(peer, z.detach().double().numpy(), [0])
    np.testing.assert_allclose(grad, want, rtol=2e-5)


def test_label_relaxation_is_the_divergence_from_the_nearest_allowed(z):
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    q = torch.softmax(z, 1).gather(1, y[:, None])[:, 0]
    alpha = 0.1
    want = (1 - alpha) * torch.log((1 - alpha) / q) + alpha * torch.log(alpha / (1 - q))
    want = torch.where(q < 1 - alpha, want, 0.0)
    torch.testing.assert_close(ct.label_relaxed_loss(z, y, alpha=alpha, reduction="none"), want)
    sure = torch.tensor([[900.0, 0.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(ct.label_relaxed_loss(sure, torch.tensor([0])), sure)
    assert torch.equal(grad, torch.zeros((1, 2)))


def test_logit_adjustment_is_the_loss_of_shifted_logits(z):
    prior = torch.tensor([0.7, 0.2, 0.05, 0.05], dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    want = torch.nn.functional.cross_entropy(z + 0.5 * prior.log(), y)
    torch.testing.assert_close(ct.logit_adjusted_loss(z, y, prior, tau=0.5), want)
    with pytest.raises(ValueError, match=r"class_prior has shape \(3,\)"):
        ct.logit_adjusted_loss(z, y, prior[:3])


@pytest.mark.parametrize("mapping", ["softmax", "sparsemax", "entmax15"])
def test_a_fenchel_young_gradient_is_the_prediction_minus_the_truth(mapping, z):
    predict = {"softmax": lambda x: torch.softmax(x, 1), "sparsemax": ct.sparsemax, "entmax15": ct.entmax15}[mapping]
    q = predict(z)
    torch.testing.assert_close(q.sum(1), torch.ones(6, dtype=z.dtype))
    p = torch.softmax(z.flip(1), 1)
    x = z.clone().requires_grad_()
    loss = ct.fenchel_young_loss(x, p, mapping=mapping, reduction="none")
    assert bool((loss > 0).all())
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), x)[0], q - p, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        ct.fenchel_young_loss(z, q, mapping=mapping), torch.zeros((), dtype=z.dtype), atol=1e-12, rtol=0.0
    )


@pytest.mark.parametrize(("mapping", "margin"), [("sparsemax", 1.0), ("entmax15", 2.0)])
def test_a_sparse_loss_ends_at_its_margin(mapping, margin):
    for distance, positive in ((margin - 0.01, True), (margin, False), (margin + 50.0, False)):
        z = torch.tensor([[distance, 0.0, 0.0]], dtype=torch.float64)
        assert (ct.fenchel_young_loss(z, torch.tensor([0]), mapping=mapping).item() > 1e-9) == positive


@pytest.mark.parametrize("name", [*CASES, "sparsemax", "entmax15", "softmax"])
def test_gradcheck_twice(name, z):
    loss, _, options = CASES.get(name, (ct.fenchel_young_loss, None, {"mapping": name}))
    x, y = z.requires_grad_(), torch.tensor([0, 1, 2, 3, 0, -100])
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)

    def f(x):
        return loss(x, y, weight=weight, **options)

    assert torch.autograd.gradcheck(f, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, (x,))


def test_given_probabilities_and_log_probabilities(z):
    q = torch.softmax(z, 1)
    y = torch.tensor([0, 1, -100, 3, 0, 1])
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    for target in (y, torch.softmax(z.flip(1), 1)):
        want = torch.nn.functional.cross_entropy(z, target, weight)
        torch.testing.assert_close(ct.cross_entropy_from_probs(q, target, weight=weight), want)
        torch.testing.assert_close(ct.cross_entropy_from_log_probs(q.log(), target, weight=weight), want)


def test_probabilities_are_not_clipped():
    q = torch.tensor([[0.0, 1.0], [1e-42, 1.0]], requires_grad=True)
    loss = ct.cross_entropy_from_probs(q, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), reduction="none")
    assert loss[0] == 0.0
    assert loss[1].item() == pytest.approx(96.71, abs=0.1)
    (grad,) = torch.autograd.grad(loss[0], q)
    assert torch.equal(grad, torch.tensor([[0.0, -1.0], [0.0, 0.0]]))
    assert ct.cross_entropy_from_probs(q, torch.tensor([0, 1]), reduction="none")[0] == torch.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda z, y: ct.focal_loss(z, y, gamma=-1.0), ValueError, "gamma = -1.0: expected a finite number >= 0"),
        (lambda z, y: ct.poly1_loss(z, y, epsilon=-2.0), ValueError, "epsilon"),
        (lambda z, y: ct.generalized_cross_entropy(z, y, q=0.0), ValueError, "q = 0.0"),
        (lambda z, y: ct.symmetric_cross_entropy(z, y, A=1.0), ValueError, "A = 1.0"),
        (lambda z, y: ct.fenchel_young_loss(z, y, mapping="relu"), ValueError, "mapping = 'relu'"),
        (lambda z, y: ct.focal_loss(z, y, smoothing=0.1), TypeError, "unexpected option 'smoothing'"),
        (lambda z, y: ct.focal_loss(z, y + 4), IndexError, "out of bounds"),
        (lambda z, y: ct.label_relaxed_loss(z, torch.softmax(z, 1)), TypeError, "expected labels"),
    ],
)
def test_mistakes_are_named(call, error, message, z):
    with pytest.raises(error, match=message):
        call(z, torch.tensor([0, 1, 2, 3, 0, 1]))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_sample_weights_multiply_the_rows_losses_and_a_mean_divides_by_them(reduction):
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(5, 4, generator=generator, dtype=torch.float64), torch.tensor([0, 3, -100, 1, 2])
    weight = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    for loss in (ct.focal_loss, ct.poly1_loss, ct.generalized_cross_entropy, ct.fenchel_young_loss):
        rows = loss(z, y, reduction="none") * weight
        divisor = weight[y >= 0].sum()
        expected = {"none": rows, "sum": rows.sum(), "mean": rows.sum() / divisor}[reduction]
        torch.testing.assert_close(
            loss(z, y, sample_weight=weight, reduction=reduction), expected, rtol=1e-14, atol=0.0
        )
