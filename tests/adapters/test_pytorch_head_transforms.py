"""The head's derivatives of every kind, a few rows at a time, against those of the loss of whole logits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from crossent.torch import cross_entropy, linear_cross_entropy  # noqa: E402

F = torch.nn.functional
# PyTorch's forward derivatives script their own decompositions when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
CASES = {
    "plain": {},
    "capped and scaled": {"softcap": 3.0, "logit_scale": 1.5},
    "smoothed with z-loss": {"z_loss": 0.1, "label_smoothing": 0.1},
    "rows": {"reduction": "none"},
    "sum": {"reduction": "sum"},
}
TWO_ROWS = 2 * 7 * 16


@pytest.fixture
def tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    x, w, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((9, 5), (7, 5), (7,)))
    y = torch.randint(0, 7, (9,), generator=generator)
    y[3] = -100
    return x, w, b, y


def pair(y, options):
    def ours(x, w, b):
        return linear_cross_entropy(x, w, y, linear_bias=b, max_memory=TWO_ROWS, **options)

    def whole(x, w, b):
        z = F.linear(x, w, b) * options.get("logit_scale", 1.0)
        z = z if "softcap" not in options else options["softcap"] * torch.tanh(z / options["softcap"])
        rest = {k: v for k, v in options.items() if k not in ("logit_scale", "softcap")}
        return cross_entropy(z, y, **rest)

    return ours, whole


@pytest.mark.parametrize("name", CASES)
def test_gradients_and_hessian_vector_products(tensors, name):
    *given, y = tensors
    results = []
    for function in pair(y, CASES[name]):
        leaves = [t.clone().requires_grad_() for t in given]
        loss = function(*leaves)
        bar = torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
        plain = torch.autograd.grad(loss, leaves, bar, retain_graph=True)
        again = torch.autograd.grad(loss, leaves, bar, retain_graph=True)
        made = torch.autograd.grad(loss, leaves, bar, create_graph=True)
        product = torch.autograd.grad(made, leaves, [torch.cos(g.detach()) for g in made])
        results.append((loss, *plain, *again, *made, *product))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_functional_transforms(tensors, name):
    x, w, b, y = tensors
    at, along = (x, w, b), (x.cos(), w.cos(), b.cos())

    def of(function):
        def total(*inputs):
            return function(*inputs).sum()

        many = torch.stack([x, 2 * x])
        return (
            *torch.func.grad(total, (0, 1, 2))(*at),
            torch.func.jvp(function, at, along)[1],
            torch.func.jvp(torch.func.grad(total, 1), at, along)[1],
            torch.func.vmap(function, (0, None, None))(many, w, b),
            torch.func.vmap(torch.func.grad(total), (0, None, None))(many, w, b),
        )

    ours, whole = pair(y, CASES[name])
    for got, want in zip(of(ours), of(whole), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_frozen_gets_no_gradient(tensors, frozen):
    *given, y = tensors
    leaves = [t.clone().requires_grad_(i != frozen) for i, t in enumerate(given)]
    linear_cross_entropy(leaves[0], leaves[1], y, linear_bias=leaves[2]).backward()
    assert [t.grad is None for t in leaves] == [i == frozen for i in range(3)]


def test_ignored_rows_may_hold_nan_and_a_loss_used_twice_counts_twice(tensors):
    x, w, _, y = tensors
    x[3] = torch.nan
    x, w = x.requires_grad_(), w.requires_grad_()
    loss = linear_cross_entropy(x, w, y)
    once = torch.autograd.grad(linear_cross_entropy(x, w, y), (x, w))
    for got, want in zip(torch.autograd.grad(3 * loss - loss, (x, w)), once, strict=True):
        torch.testing.assert_close(got, 2 * want)
    assert torch.equal(once[0][3], torch.zeros(5, dtype=torch.float64))


def test_sparse_distributions_shifts_lse_and_accuracy(tensors):
    x, w, b, _ = tensors
    indices = torch.tensor([[0, 3]]).expand(9, 2)
    probs = torch.tensor([[0.25, 0.5]], dtype=torch.float64).repeat(9, 1).requires_grad_()
    loss, lse, accuracy = linear_cross_entropy(
        x, w, (indices, probs), linear_bias=b, return_lse=True, return_accuracy=True, shift=1
    )
    z = F.linear(x, w, b)[:-1]
    p = torch.zeros_like(z).scatter_add(1, indices[1:], probs[1:])
    want = cross_entropy(z, p)
    torch.testing.assert_close(loss, want)
    torch.testing.assert_close(lse, z.logsumexp(1))
    torch.testing.assert_close(accuracy, (z.argmax(1) == 3).float().mean())
    torch.testing.assert_close(torch.autograd.grad(loss, probs)[0], torch.autograd.grad(want, probs)[0])
    with pytest.raises(IndexError, match=r"target\[0\]\[0, 0\] = 7 is outside \[0, 7\)"):
        linear_cross_entropy(x, w, (indices + 7, probs))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{}, {"softcap": 3.0}, {"reduction": "none"}], ids=str)
def test_compiles_without_a_graph_break(tensors, dtype, options):
    *given, y = tensors
    leaves = [t.to(dtype).requires_grad_() for t in given]

    def f(x, w, b):
        return (2 * linear_cross_entropy(2 * x, w, y, linear_bias=b, **options)).sum()

    torch._dynamo.reset()
    loss, eager = torch.compile(f, fullgraph=True, backend="aot_eager")(*leaves), f(*leaves)
    torch.testing.assert_close(loss, eager)
    for got, want in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(eager, leaves), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("scale", [1.0, 12.0])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_saturated_cap_keeps_its_slope(scale, create_graph):
    a = torch.tensor([[-11.0, 0.0, 0.3, 9.0, 24.0]]) * scale
    x, w = torch.ones((1, 1)), a.T.contiguous().requires_grad_()
    loss = linear_cross_entropy(x, w, torch.tensor([2]), softcap=6.0)
    (got,) = torch.autograd.grad(loss, w, create_graph=create_graph)
    u = a.double() / 6
    q = (6 * u.tanh()).softmax(1)
    q[0, 2] -= 1
    want = q / u.cosh().square()
    torch.testing.assert_close(got.double(), want.T, rtol=2e-5, atol=2e-38)
