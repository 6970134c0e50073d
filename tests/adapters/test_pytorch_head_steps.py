"""The head's fused step and its Gauss–Newton product against what they stand for, and its results across budgets."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from crossent.torch import FusedHeadSGD, cross_entropy, gauss_newton_product, linear_cross_entropy  # noqa: E402

F = torch.nn.functional


def problem(seed, n, d, c, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    x, w, b = (torch.randn(shape, generator=generator).to(dtype) for shape in ((n, d), (c, d), (c,)))
    return x, w, b, torch.randint(0, c, (n,), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_fused_steps_are_those_of_torch_sgd(seed, dtype):
    x, w, b, y = problem(seed, 60, 16, 300, dtype)
    y[:5] = -100
    options = {"label_smoothing": 0.1, "softcap": 5.0, "weight": torch.linspace(0.5, 2.0, 300, dtype=dtype)}
    fused = FusedHeadSGD(
        w.clone(), b.clone(), learning_rate=3.0, momentum=0.8, weight_decay=0.01, max_memory="16KiB", **options
    )
    # The exact steps; in bfloat16 from the weights that the rounding left.
    wide = [t.double().requires_grad_() for t in (w, b)]
    groups = [{"params": wide[:1], "weight_decay": 0.01}, {"params": wide[1:]}]
    plain = torch.optim.SGD(groups, lr=3.0, momentum=0.8)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 8e-3}[dtype]
    for _ in range(4):
        loss, x_grad = fused.step(x, y)
        leaf = x.double().clone().requires_grad_()
        want = linear_cross_entropy(
            leaf, wide[0], y, linear_bias=wide[1], **{**options, "weight": options["weight"].double()}
        )
        plain.zero_grad()
        want.backward()
        plain.step()
        assert x_grad.dtype == dtype
        assert loss.item() == pytest.approx(want.item(), rel=tolerance)
        assert (x_grad.double() - leaf.grad).abs().max() <= 4 * tolerance * leaf.grad.abs().max()
        for got, exact in zip((fused.linear_weight, fused.linear_bias), wide, strict=True):
            assert (got.double() - exact).abs().max() <= tolerance * exact.abs().max()
            exact.data.copy_(got)


def test_a_step_gives_the_gradient_of_shifted_sequences_back_in_their_shape(seed):
    x, w, _, y = problem(seed, 24, 8, 50, torch.float64)
    x, y = x.reshape(4, 6, 8), y.reshape(4, 6)
    leaf = x.clone().requires_grad_()
    linear_cross_entropy(leaf, w, y, shift=1).backward()
    head = FusedHeadSGD(w.clone(), learning_rate=0.1, shift=1)
    torch.testing.assert_close(head.step(x, y).x_grad, leaf.grad)
    assert not leaf.grad[:, -1].any()
    assert head.step(x, y, needs_x_grad=False).x_grad is None


BAD_STEPS = {
    "label": (lambda head, x, y: head.step(x, y + 50), IndexError, "is outside"),
    "shape": (lambda head, x, y: head.step(x[:, :3], y), RuntimeError, "in_features"),
    "input": (lambda head, x, y: head.step(x.tolist(), y), TypeError, "input"),
    "rate": (lambda head, x, y: setattr(head, "learning_rate", -1.0) or head.step(x, y), ValueError, "learning_rate"),
    "memory": (lambda head, x, y: head.options.update(max_memory="much") or head.step(x, y), ValueError, "max_memory"),
}


@pytest.mark.parametrize("name", BAD_STEPS)
def test_a_refused_step_moves_nothing(seed, name):
    x, w, b, y = problem(seed, 20, 8, 50)
    head = FusedHeadSGD(w.clone(), b.clone(), learning_rate=0.1, weight_decay=0.1)
    step, error, message = BAD_STEPS[name]
    with pytest.raises(error, match=message):
        step(head, x, y)
    assert torch.equal(head.linear_weight, w)
    assert torch.equal(head.linear_bias, b)
    assert not head.velocity.any()


def test_a_step_needs_one_loss():
    with pytest.raises(ValueError, match="reduction = 'none'"):
        FusedHeadSGD(torch.zeros(3, 2), learning_rate=0.1, reduction="none")


@pytest.mark.parametrize("options", [{}, {"softcap": 4.0, "logit_scale": 1.5}, {"z_loss": 0.1}], ids=str)
def test_gauss_newton_products_are_those_of_the_whole_matrix(seed, options):
    x, w, b, y = problem(seed, 5, 3, 4, torch.float64)
    y[2] = -100
    row_weight = torch.linspace(0.5, 2.0, 5, dtype=torch.float64)
    cap, scale = options.get("softcap"), options.get("logit_scale", 1.0)

    def logits(x, w, b):
        z = scale * F.linear(x, w, b)
        return z if cap is None else cap * torch.tanh(z / cap)

    def loss(z):
        return cross_entropy(z, y, sample_weight=row_weight, z_loss=options.get("z_loss", 0.0))

    jacobian = [j.reshape(20, -1) for j in torch.func.jacrev(logits, (0, 1, 2))(x, w, b)]
    middle = torch.func.jacrev(torch.func.jacrev(loss))(logits(x, w, b)).reshape(20, 20)
    vectors = (x.cos(), w.sin(), b.cos())
    for some in ((0, 1, 2), (1,), (0, 2)):
        given = tuple(v if i in some else None for i, v in enumerate(vectors))
        got = gauss_newton_product(
            x, w, y, given, linear_bias=b, sample_weight=row_weight, max_memory=2 * 4 * 16, **options
        )
        push = sum(jacobian[i] @ vectors[i].reshape(-1) for i in some)
        for i, part in enumerate(got):
            if i not in some:
                assert part is None
                continue
            want = (jacobian[i].T @ middle @ push).reshape(vectors[i].shape)
            torch.testing.assert_close(part, want, rtol=1e-10, atol=1e-14)


def test_in_the_weights_alone_the_gauss_newton_product_is_the_hessians(seed):
    x, w, _, y = problem(seed, 40, 8, 70, torch.float64)
    leaf, v = w.clone().requires_grad_(), w.cos()
    (grad,) = torch.autograd.grad(linear_cross_entropy(x, leaf, y, label_smoothing=0.2), leaf, create_graph=True)
    (want,) = torch.autograd.grad(grad, leaf, v)
    got = gauss_newton_product(x, w, y, (None, v, None), label_smoothing=0.2, max_memory="8KiB")[1]
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("vectors", [(None, None, None), (None, torch.ones(2, 2), None), (None, None, torch.ones(3))])
def test_vectors_of_no_use_are_refused(vectors):
    with pytest.raises(ValueError, match="vectors"):
        gauss_newton_product(torch.ones(2, 4), torch.ones(3, 4), torch.tensor([0, 1]), vectors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_agree_across_budgets_and_repeat_bit_by_bit(seed, dtype):
    x, w, b, y = problem(seed, 300, 64, 1000, dtype)
    x = x / 4

    def results(budget):
        leaves = [t.clone().requires_grad_() for t in (x, w, b)]
        loss = linear_cross_entropy(*leaves[:2], y, linear_bias=leaves[2], max_memory=budget)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    exact = None
    # Of the largest entry: in bfloat16 chunks of other rows round their sums elsewhere.
    tolerance = {torch.float32: 0, torch.bfloat16: 1}[dtype] * torch.finfo(dtype).eps
    for budget in ("1B", "100KiB", "700KiB", "64MiB"):
        got, again = results(budget), results(budget)
        assert all(map(torch.equal, got, again))
        exact = got if exact is None else exact
        for t, e in zip(got, exact, strict=True):
            assert (t.double() - e.double()).abs().max() <= tolerance * e.double().abs().max()


def test_bfloat16_gradients_have_at_most_a_tenth_of_the_error_of_pytorchs(seed):
    # Confident rows, as a trained head has them: q - p is small, and logits of 8 bits do not know it. On rows of an
    # untrained one, rounding the gradient to 8 bits is most of either's error.
    x, w, _, y = problem(seed, 512, 64, 2000, torch.bfloat16)
    x = (0.05 * x + 0.3 * w[y]).bfloat16()

    def gradients(function, dtype):
        leaves = [t.to(dtype).requires_grad_() for t in (x, w)]
        return torch.autograd.grad(function(*leaves), leaves)

    def unfused(x, w):
        return F.cross_entropy(x @ w.T, y)

    exact = gradients(unfused, torch.float64)
    ours = gradients(lambda *t: linear_cross_entropy(*t, y, max_memory="1MiB"), torch.bfloat16)
    theirs = gradients(unfused, torch.bfloat16)
    errors = [[(t.double() - e).norm() / e.norm() for t, e in zip(g, exact, strict=True)] for g in (ours, theirs)]
    for our, their in zip(*errors, strict=True):
        assert our <= 0.1 * their


PEAK = r"""
import re, torch
from pathlib import Path
from crossent.torch import linear_cross_entropy
torch.manual_seed(0)
x = torch.randn({n}, {d}, requires_grad=True)
w = (torch.randn({c}, {d}) / 16).requires_grad_()
y = torch.randint({c}, ({n},))
linear_cross_entropy(x[:8], w[:100], y[:8] % 100).backward()  # loads what it needs
x.grad = w.grad = None
def mebibytes(field):
    return int(re.search(field + r":\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
before = mebibytes("VmRSS")
linear_cross_entropy(x, w, y, max_memory="16MiB").backward()
print(mebibytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_memory_beyond_the_gradients_stays_within_the_budget():
    n, d, c = 512, 64, 60000
    run = subprocess.run(
        [sys.executable, "-c", PEAK.format(n=n, d=d, c=c)], check=True, capture_output=True, text=True, timeout=120
    )
    # Beside the chunks: the pages of the products. The logits would be 117 MiB.
    gradients = (n + c) * d * 4 / 2**20
    extra = float(run.stdout) - gradients
    assert 0 < extra <= 16 + 24
