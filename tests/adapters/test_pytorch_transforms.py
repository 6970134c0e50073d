"""Everything that PyTorch does to a loss: compile, export, differentiate again, forward, in batches, cast."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from crossent.torch import CrossEntropyLoss, cross_entropy  # noqa: E402

F = torch.nn.functional
# PyTorch's forward derivatives script their own decompositions when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture
def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((5, 4), generator=generator, dtype=torch.float64)
    return z, torch.randint(0, 4, (5,), generator=generator), torch.rand(4, generator=generator, dtype=torch.float64)


def test_hessian_vector_products_are_exact(batch):
    z, y, weight = batch
    v = torch.ones_like(z).cumsum(dim=1)

    def product(loss):
        x = z.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(x, y, weight, label_smoothing=0.1), x, create_graph=True)
        return torch.autograd.grad((grad * v).sum(), x)[0]

    torch.testing.assert_close(product(cross_entropy), product(F.cross_entropy), rtol=1e-12, atol=1e-14)


def test_functional_transforms_agree_with_pytorchs(batch):
    z, y, weight = batch
    t = torch.ones_like(z).cumsum(dim=1)

    def of(loss):
        def f(x):
            return loss(x, y, weight)

        def row(x, label):
            return loss(x, label)

        return (
            torch.func.grad(f)(z),
            torch.func.hessian(f)(z),
            torch.func.jacfwd(f)(z),
            torch.func.jvp(f, (z,), (t,))[1],
            torch.func.grad(lambda x: (torch.func.grad(f)(x) * t).sum())(z),
            torch.func.vmap(row)(z, y),
            torch.func.vmap(torch.func.grad(row))(z, y),
            torch.func.vmap(row, in_dims=(0, None))(torch.stack([z, 2 * z]), y),
        )

    for ours, theirs in zip(of(cross_entropy), of(F.cross_entropy)):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_the_forward_derivative_of_a_confident_row_is_not_zero():
    z = torch.tensor([[40.0, 0.0]])
    y = torch.tensor([0])
    _, along = torch.func.jvp(lambda x: cross_entropy(x, y), (z,), (torch.tensor([[1.0, 0.0]]),))
    torch.testing.assert_close(along, torch.tensor(-4.248354e-18), rtol=1e-6, atol=0.0)


def test_a_second_backward_gives_the_same_gradient(batch):
    z, y, _ = batch
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = z.to(dtype).requires_grad_()
        loss = cross_entropy(x, y)
        first = torch.autograd.grad(loss, x, retain_graph=True)[0].clone()
        assert torch.equal(torch.autograd.grad(loss, x, torch.tensor(1.0).to(dtype))[0], first)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiles_without_a_graph_break(batch, dtype):
    z, y, weight = batch
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: cross_entropy(2 * x, y, weight.to(dtype), label_smoothing=0.1), fullgraph=True, backend="aot_eager"
    )
    x = z.to(dtype).requires_grad_()
    loss = compiled(x)
    eager = cross_entropy(2 * x, y, weight.to(dtype), label_smoothing=0.1)
    assert torch.equal(loss, eager)
    torch.testing.assert_close(torch.autograd.grad(loss, x)[0], torch.autograd.grad(eager, x)[0])


@pytest.mark.slow
def test_derivatives_taken_inside_compiled_code_are_not_lost(batch):
    z, y, _ = batch

    def both(x):
        along = torch.func.jvp(lambda v: cross_entropy(v, y), (x,), (x,))[1]
        return along, torch.func.grad(lambda v: cross_entropy(v, y))(x)

    torch._dynamo.reset()
    for got, want in zip(torch.compile(both, fullgraph=True, backend="aot_eager")(z), both(z)):
        torch.testing.assert_close(got, want)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by PyTorch's own compiler
def test_compiles_for_targets_that_need_a_gradient(batch):
    z, _, _ = batch
    p = torch.softmax(z, 1).requires_grad_()
    torch._dynamo.reset()
    loss = torch.compile(lambda q: cross_entropy(z, q), fullgraph=True, backend="aot_eager")(p)
    (want,) = torch.autograd.grad(F.cross_entropy(z, p), p)
    torch.testing.assert_close(torch.autograd.grad(loss, p)[0], want)


def test_exports(batch):
    z, y, _ = batch
    exported = torch.export.export(CrossEntropyLoss(label_smoothing=0.1), (z, y))
    assert torch.equal(exported.module()(z, y), cross_entropy(z, y, label_smoothing=0.1))


@pytest.mark.slow
def test_the_operators_pass_pytorchs_check(batch):
    z, y, weight = batch
    x = z.clone().requires_grad_()
    p = torch.softmax(z, 1)
    for options in (
        (y, weight, None, -100, 0.0, 0.0, None, "mean"),
        (p, None, z[:, 0].abs(), -100, 0.1, 0.1, None, "none"),
    ):
        torch.library.opcheck(torch.ops.crossent.cross_entropy.default, (x, *options))
        bar = torch.ones(()) if options[-1] == "mean" else torch.ones(5)
        torch.library.opcheck(torch.ops.crossent.cross_entropy_backward.default, (bar.double(), z, *options))


def test_the_operators_are_mapped(batch):
    z, y, _ = batch
    options = (y, None, None, -100, 0.0, 0.0, None, "mean")
    many = torch.func.vmap(lambda x: torch.ops.crossent.cross_entropy(x, *options))(torch.stack([z, 3 * z]))
    assert torch.equal(many, torch.stack([cross_entropy(z, y), cross_entropy(3 * z, y)]))


def test_autocast_returns_what_pytorch_returns(batch):
    z, y, _ = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for reduction in ("mean", "none"):
            theirs = F.cross_entropy(z.bfloat16(), y, reduction=reduction)
            ours = cross_entropy(z.bfloat16(), y, reduction=reduction)
            assert ours.dtype == theirs.dtype
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_layouts(seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((2, 6, 4, 8), generator=generator)
    y = torch.randint(0, 6, (2, 4, 8), generator=generator)
    expected = F.cross_entropy(z, y)
    layouts = {
        "channels last": z.contiguous(memory_format=torch.channels_last),
        "transposed": z.transpose(2, 3).contiguous().transpose(2, 3),
        "strided": torch.stack([z, z], dim=-1)[..., 0],
        "backwards": z.flip(0).flip(0),
        "negated": torch.complex(z, -z).conj().imag,
        "expanded": z[:1].expand(2, -1, -1, -1),
    }
    for name, view in layouts.items():
        x = view.detach().requires_grad_()
        theirs = F.cross_entropy(x, y)
        loss = cross_entropy(x, y)
        torch.testing.assert_close(loss, theirs, msg=name)
        assert name == "expanded" or torch.allclose(loss, expected)
        bars = torch.autograd.grad(loss, x)[0], torch.autograd.grad(theirs, x)[0]
        torch.testing.assert_close(*bars, msg=name)


def test_meta_tensors_have_shapes_and_derivatives():
    for shape, rows in (((5, 4), (5,)), ((2, 4, 3), (2, 3)), ((4,), ())):
        z = torch.empty(shape, device="meta", requires_grad=True)
        for target in (torch.empty(rows, dtype=torch.long, device="meta"), torch.empty(shape, device="meta")):
            assert cross_entropy(z, target, reduction="none", label_smoothing=0.1).shape == rows
            loss = cross_entropy(z, target, torch.empty(4, device="meta"), z_loss=0.1)
            (grad,) = torch.autograd.grad(loss, z, create_graph=True)
            (again,) = torch.autograd.grad(grad.sum(), z)
            assert loss.shape == ()
            assert grad.shape == again.shape == shape
        assert cross_entropy(z, torch.empty(rows, dtype=torch.long, device="meta"), reduction="log-mean").shape == ()


def test_a_module_is_copied_and_saved_as_pytorchs(batch):
    weight = batch[2]
    ours, theirs = CrossEntropyLoss(weight), torch.nn.CrossEntropyLoss(weight)
    assert isinstance(ours, torch.nn.CrossEntropyLoss)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(copy.deepcopy(ours).to(torch.float32).weight, weight.float())
