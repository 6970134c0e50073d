"""PyTorch's own sample inputs and error inputs of its cross-entropy, as function and as module, given to ours."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch_samples import DTYPES, pytorchs_own, same, widened  # noqa: E402

from crossent.torch import CrossEntropyLoss, cross_entropy  # noqa: E402

F = torch.nn.functional
# PyTorch's forward derivatives script their own decompositions when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
# What PyTorch's own rounding makes of these samples.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def function_samples(dtype):
    operators = pytorchs_own("common_methods_invocations").op_db
    operator = next(op for op in operators if op.name == "nn.functional.cross_entropy")
    samples = [*operator.sample_inputs("cpu", dtype, requires_grad=True)]
    assert len(samples) > 20
    return samples


def module_info():
    return next(info for info in pytorchs_own("common_modules").module_db if info.name == "nn.CrossEntropyLoss")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_function_samples_give_the_same_loss_and_gradients(dtype):
    for sample in function_samples(dtype):
        results = []
        for function, s in (
            (cross_entropy, sample),
            (F.cross_entropy, sample),
            (F.cross_entropy, sample.transform(widened)),
        ):
            inputs = [t for t in (s.input, *s.args) if t.requires_grad]
            loss = function(s.input, *s.args, **s.kwargs)
            results.append((loss, *torch.autograd.grad(loss.sum(), inputs)))
        for triple in zip(*results, strict=True):
            same(*triple, TOLERANCE)


@pytest.mark.slow
def test_function_samples_pass_gradcheck_in_every_mode():
    for sample in function_samples(torch.float64):
        target = sample.args[0]
        if target.is_floating_point():
            inputs = (sample.input, target)

            def loss(z, p, options=sample.kwargs):
                return cross_entropy(z, p, **options)
        else:
            inputs = (sample.input,)

            def loss(z, y=target, options=sample.kwargs):
                return cross_entropy(z, y, **options)

        assert torch.autograd.gradcheck(loss, inputs, check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(loss, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_module_samples_give_the_same_loss_and_gradients(dtype):
    samples = module_info().module_inputs_func(module_info(), "cpu", dtype, requires_grad=True, training=True)
    assert len(samples) > 50
    for sample in samples:
        made, call = sample.constructor_input, sample.forward_input
        z, target = call.args
        wide = {name: widened(value) for name, value in made.kwargs.items()}
        results = []
        for module, logits, truth in (
            (CrossEntropyLoss(*made.args, **made.kwargs), z, target),
            (torch.nn.CrossEntropyLoss(*made.args, **made.kwargs), z, target),
            (torch.nn.CrossEntropyLoss(*made.args, **wide), widened(z), widened(target)),
        ):
            loss = module(logits, truth.detach())
            results.append((loss, torch.autograd.grad(loss.sum(), logits)[0]))
        for triple in zip(*results, strict=True):
            same(*triple, TOLERANCE)


def test_module_errors_are_the_same():
    samples = module_info().module_error_inputs_func(module_info(), "cpu", torch.float32, False, True)
    assert len(samples) > 5
    for sample in samples:
        made, call = sample.module_error_input.constructor_input, sample.module_error_input.forward_input
        loss = CrossEntropyLoss(*made.args, **made.kwargs)
        with pytest.raises(sample.error_type, match=sample.error_regex):
            loss(*call.args, **call.kwargs)


Z = torch.zeros((2, 3))
Y = torch.tensor([0, 2])
MISTAKES = {
    "label too large": (Z, torch.tensor([0, 3]), {}),
    "label too small": (Z, torch.tensor([0, -1]), {}),
    "label too large, per pixel": (torch.zeros((2, 3, 4, 5)), torch.full((2, 4, 5), 3), {}),
    "label too large, smoothed": (Z, torch.tensor([0, 3]), {"label_smoothing": 0.1}),
    "no such reduction": (Z, Y, {"reduction": "average"}),
    "weight of another dtype": (Z, Y, {"weight": torch.ones(3, dtype=torch.float64)}),
    "weight with two axes": (Z, Y, {"weight": torch.ones((1, 3))}),
    "weight of another length": (Z, torch.full((2, 3), 1 / 3), {"weight": torch.ones(2)}),
    "no logits": (torch.tensor(1.0), torch.tensor(0), {}),
    "integer logits": (torch.zeros((2, 3), dtype=torch.int64), Y, {}),
    "a list of logits": ([[0.0, 0.0, 0.0]] * 2, Y, {}),
    "a NumPy target": (Z, Y.numpy(), {}),
    "boolean labels": (Z, torch.tensor([True, False]), {}),
    "labels with an axis too many": (Z, torch.zeros((2, 1), dtype=torch.int64), {}),
    "smoothing above 1": (Z, Y, {"label_smoothing": 1.5}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_raises_what_pytorch_raises(name):
    logits, target, options = MISTAKES[name]
    with pytest.raises(Exception) as theirs:
        F.cross_entropy(logits, target, **options)
    with pytest.raises(type(theirs.value)) as ours:
        cross_entropy(logits, target, **options)
    assert str(theirs.value).split("\n")[0].rstrip(".") in str(ours.value)


def test_nothing_to_average_is_nan_with_a_gradient_of_zero():
    z = torch.randn((2, 3), requires_grad=True)
    loss = cross_entropy(z, torch.full((2,), -100))
    loss.backward()
    assert torch.isnan(loss)
    assert torch.equal(z.grad, torch.zeros((2, 3)))
    assert torch.isnan(cross_entropy(torch.zeros((0, 3)), torch.zeros(0, dtype=torch.long)))
    assert cross_entropy(torch.zeros((0, 3)), torch.zeros(0, dtype=torch.long), reduction="sum") == 0.0


def test_legacy_reductions():
    for flags in ({"size_average": False}, {"reduce": False}):
        with pytest.warns(UserWarning, match="deprecated"):
            theirs = F.cross_entropy(Z, Y, **flags)
        with pytest.warns(UserWarning, match="deprecated"):
            ours = cross_entropy(Z, Y, **flags)
        torch.testing.assert_close(ours, theirs)
