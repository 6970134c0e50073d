"""The head of CPU tensors: NumPy's bits, bfloat16 with each row's own class kept apart, and the unbiased gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import crossent  # noqa: E402
from crossent.torch import LinearCrossEntropyLoss, linear_cross_entropy  # noqa: E402

THRESHOLD = 1 / 16


def problem(seed, n, d, c, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x, w, b = (torch.randn(shape, generator=generator).to(dtype) for shape in ((n, d), (c, d), (c,)))
    return x, w, b, torch.randint(0, c, (n,), generator=generator)


def loss_and_gradients(x, w, y, **options):
    leaves = [t.clone().requires_grad_() for t in (x, w)]
    loss = linear_cross_entropy(*leaves, y, **options)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_results_have_the_bits_of_numpys_head(seed, dtype):
    x, w, _, y = problem(seed, 120, 16, 2500, dtype)
    y[::7] = -100
    found = loss_and_gradients(x / 4, w, y, z_loss=0.01, label_smoothing=0.1)
    want = crossent.linear_cross_entropy(x.numpy() / 4, w.numpy(), y.numpy(), z_loss=0.01, label_smoothing=0.1)
    for got, array in zip(found, (want.loss, want.x_grad, want.weight_grad), strict=True):
        assert got.dtype == dtype
        assert np.array_equal(got.numpy(), np.asarray(array).astype(got.numpy().dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_results_have_the_same_bits_for_every_budget_and_number_of_threads(seed, dtype):
    x, w, _, y = problem(seed, 600, 8, 2500, dtype)
    before = torch.get_num_threads()
    results = []
    for budget, threads in (("1B", 1), ("8MiB", 2), ("1GB", 3)):
        torch.set_num_threads(threads)
        results.append(loss_and_gradients(x, w, y, max_memory=budget))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("kind", ["labels", "distributions", "sparse"])
@pytest.mark.parametrize("options", [{}, {"softcap": 6.0}, {"logit_scale": 0.5, "z_loss": 0.01}], ids=str)
def test_bfloat16_gradients_are_those_of_float64_to_its_digits(seed, kind, options):
    n, c = 150, 2100
    x, w, b, y = problem(seed, n, 32, c, torch.bfloat16)
    x = x / 4
    y[::9] = -100
    target = y
    if kind == "distributions":
        target = torch.randn(n, c, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).softmax(1)
    elif kind == "sparse":
        target = (torch.stack([y.clamp(0, c - 2), y.clamp(0, c - 2) + 1], 1), torch.rand(n, 2).double())
    results = []
    for dtype, budget in ((torch.float64, "64MiB"), (torch.bfloat16, "500KiB")):
        leaves = [t.to(dtype).requires_grad_() for t in (x, w, b)]
        loss = linear_cross_entropy(*leaves[:2], target, linear_bias=leaves[2], max_memory=budget, **options)
        results.append((loss.detach(), *torch.autograd.grad(loss, leaves)))
    for exact, got in zip(*results, strict=True):
        assert (got.double() - exact).norm() <= 0.01 * exact.norm()


def test_bfloat16_losses_are_those_of_the_chunks_logits_and_of_the_labels_own_product(seed):
    # Products that bfloat16 holds exactly; that of the first row with its label has more digits than that.
    generator = torch.Generator().manual_seed(seed)
    w = torch.randint(-2, 3, (1500, 12), generator=generator).float()
    x = torch.randint(-2, 3, (200, 12), generator=generator).float()
    y = torch.randint(0, 1500, (200,), generator=generator)
    x[1:, 8:] = w[:, 8:] = 0.0
    x[0, 8:] = 1.0
    w[y[0], 8:] = torch.tensor([15.0, 4.0, 0.125, 1 / 128])
    with torch.autocast("cpu", torch.bfloat16):
        got = linear_cross_entropy(x, w, y, reduction="none")
    assert got.dtype == torch.float32
    want = torch.nn.functional.cross_entropy(x.double() @ w.double().T, y, reduction="none")
    assert ((got - want).abs() <= 1e-6 * want).all()


def test_unbiased_gradients_have_the_exact_expectation_and_the_stated_variance(seed):
    n, d, c, draws = 3, 5, 300, 2000
    x, w, _, y = problem(seed, n, d, c)
    exact = loss_and_gradients(x, w, y, reduction="sum")[1]
    direction = torch.ones(d, dtype=torch.float64)
    gradient = (x @ w.T).softmax(1)
    gradient[torch.arange(n), y] -= 1
    bound = THRESHOLD * (gradient.abs() * (w @ direction) ** 2).sum(dim=1)
    generator = torch.Generator().manual_seed(seed)
    options = {"reduction": "sum", "gradient": "unbiased", "threshold": THRESHOLD, "generator": generator}
    leaf = x.clone().requires_grad_()

    def draw():
        return torch.autograd.grad(linear_cross_entropy(leaf, w, y, **options), leaf)[0] @ direction

    found = torch.stack([draw() for _ in range(draws)])
    assert (found.var(dim=0) <= bound * 1.15).all()
    assert (found.var(dim=0) > 0).all()
    assert ((found.mean(dim=0) - exact @ direction).abs() <= 5 * (bound / draws).sqrt()).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_generator_decides_the_rounding_and_nothing_else(seed, dtype):
    x, w, _, y = problem(seed, 40, 8, 700, dtype)
    options = {"gradient": "unbiased", "threshold": THRESHOLD}

    def drawn(number):
        return loss_and_gradients(x, w, y, generator=torch.Generator().manual_seed(number), **options)

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(map(torch.equal, first, again))
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[2], other[2])
    torch.manual_seed(5)
    default = loss_and_gradients(x, w, y, **options)
    following = loss_and_gradients(x, w, y, **options)
    torch.manual_seed(5)
    assert all(map(torch.equal, default, loss_and_gradients(x, w, y, **options)))
    assert not torch.equal(default[2], following[2])
    if dtype != torch.bfloat16:  # whose exact loss comes from PyTorch's products
        assert torch.equal(first[0], loss_and_gradients(x, w, y)[0])


def test_unbiased_rounds_alike_in_a_second_backward_and_in_a_module(seed):
    x, w, b, y = problem(seed, 20, 8, 300)
    leaf = x.clone().requires_grad_()
    losses = linear_cross_entropy(leaf, w, y, linear_bias=b, reduction="none", gradient="unbiased")
    once, twice = (torch.autograd.grad(losses.sum(), leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, twice)
    head = LinearCrossEntropyLoss(8, 300, dtype=torch.float64, gradient="unbiased", threshold=THRESHOLD)
    head(x, y).backward()
    assert torch.isfinite(head.linear.weight.grad).all()


def test_what_unbiased_cannot_do_is_refused(seed):
    x, w, _, y = problem(seed, 6, 4, 9)
    leaf = x.clone().requires_grad_()

    def head(leaf=leaf, w=w, y=y, gradient="unbiased", **options):
        return linear_cross_entropy(leaf, w, y, gradient=gradient, **options)

    with pytest.raises(ValueError, match=r"gradient = 'biased'"):
        head(gradient="biased")
    with pytest.raises(ValueError, match="threshold = 0"):
        head(threshold=0)
    with pytest.raises(TypeError, match="generator"):
        head(generator=3)
    with pytest.raises(RuntimeError, match="one derivative"):
        torch.autograd.grad(head(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="one derivative"):
        head(return_lse=True)[1].sum().backward()
    with pytest.raises(ValueError, match=r"torch\.func"):
        torch.func.grad(head)(x)
    with pytest.raises(ValueError, match="expected CPU tensors"):
        head(w=w.reshape(3, 3, 4), y=y.clamp(max=2).unsqueeze(1).expand(6, 3))
    with pytest.raises(ValueError, match="weights that need no gradient"):
        head(sample_weight=torch.ones(6, dtype=torch.float64, requires_grad=True))
