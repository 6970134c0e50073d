"""PyTorch's own sample and error inputs of its linear_cross_entropy, as function and as module, given to ours."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch_samples import DTYPES, pytorchs_own, same, widened  # noqa: E402

from crossent.torch import LinearCrossEntropyLoss, linear_cross_entropy  # noqa: E402

F = torch.nn.functional
pytestmark = [
    # PyTorch's forward derivatives script their own decompositions when they are first used.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    # Its chunked path says when it falls back to the reference.
    pytest.mark.filterwarnings("ignore:linear_cross_entropy. ``options`` ignored:UserWarning"),
]
VARIANTS = ("", "chunked", "chunked_none")
# What PyTorch's own rounding makes of these samples: logits of some hundreds, in 16 bits.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def operator(variant):
    database = pytorchs_own("common_methods_invocations").op_db
    return next(
        op for op in database if op.name == "nn.functional.linear_cross_entropy" and op.variant_test_name == variant
    )


def function_samples(variant, dtype):
    samples = [*operator(variant).sample_inputs("cpu", dtype, requires_grad=True)]
    assert len(samples) > 20
    return samples


def module_info():
    database = pytorchs_own("common_modules").module_db
    return next(info for info in database if info.name == "nn.LinearCrossEntropyLoss")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_function_samples_give_the_same_loss_and_gradients(variant, dtype):
    for sample in function_samples(variant, dtype):
        wide = sample.transform(widened)
        results = []
        for function, s in (
            (linear_cross_entropy, sample),
            (F.linear_cross_entropy, sample),
            (F.linear_cross_entropy, wide),
        ):
            inputs = [t for t in (s.input, *s.args, *s.kwargs.values()) if getattr(t, "requires_grad", False)]
            options = {**s.kwargs, "options": None} if s is wide else s.kwargs
            loss = function(s.input, *s.args, **options)
            results.append((loss, *torch.autograd.grad(loss.sum(), inputs)))
        for ours, theirs, exact in zip(*results, strict=True):
            same(ours, theirs, exact, TOLERANCE)


@pytest.mark.parametrize("dtype", [*DTYPES[:-1], pytest.param(torch.float16, marks=pytest.mark.slow)], ids=str)
def test_module_samples_give_the_same_loss_and_gradients(dtype):
    samples = module_info().module_inputs_func(module_info(), "cpu", dtype, requires_grad=True, training=True)
    assert len(samples) > 100
    for sample in samples:
        made, call = sample.constructor_input, sample.forward_input
        x, target = call.args
        theirs = torch.nn.LinearCrossEntropyLoss(*made.args, **made.kwargs)
        ours = LinearCrossEntropyLoss(*made.args, **made.kwargs)
        ours.load_state_dict(theirs.state_dict())
        plain = {**made.kwargs, "dtype": torch.float64, "options": None}
        plain["weight"] = widened(plain["weight"])
        exact = torch.nn.LinearCrossEntropyLoss(*made.args, **plain)
        exact.load_state_dict(theirs.state_dict())
        results = []
        for module, features, truth in (
            (ours, x, target),
            (theirs, x, target),
            (exact, widened(x), widened(target)),
        ):
            loss = module(features, truth.detach())
            results.append((loss, *torch.autograd.grad(loss.sum(), (features, *module.parameters()))))
        for triple in zip(*results, strict=True):
            same(*triple, TOLERANCE)


def test_function_errors_are_the_same():
    samples = [*operator("").error_inputs("cpu")]
    assert len(samples) > 5
    for sample in samples:
        given = sample.sample_input
        with pytest.raises(sample.error_type, match=sample.error_regex):
            linear_cross_entropy(given.input, *given.args, **given.kwargs)


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")  # in a pattern of PyTorch's
def test_module_errors_are_the_same():
    samples = module_info().module_error_inputs_func(module_info(), "cpu", torch.float32, False, True)
    assert len(samples) > 4
    for sample in samples:
        made, call = sample.module_error_input.constructor_input, sample.module_error_input.forward_input
        with pytest.raises(sample.error_type, match=sample.error_regex):
            LinearCrossEntropyLoss(*made.args, **made.kwargs)(*call.args, **call.kwargs)


X, W, Y = torch.zeros((2, 5)), torch.zeros((3, 5)), torch.tensor([0, 2])
MISTAKES = {
    "label too large": (X, W, torch.tensor([0, 3]), {}),
    "label too small": (X, W, torch.tensor([0, -1]), {}),
    "labels with an axis too many": (X, W, torch.zeros((2, 1), dtype=torch.int64), {}),
    "boolean labels": (X, W, torch.tensor([True, False]), {}),
    "no such reduction": (X, W, Y, {"reduction": "average"}),
    "class weights of another length": (X, W, Y, {"weight": torch.ones(2)}),
    "smoothing above 1": (X, W, Y, {"label_smoothing": 1.5}),
    "another batch size": (X, W, torch.tensor([0, 1, 2]), {}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_raises_what_pytorch_raises(name):
    x, weight, target, options = MISTAKES[name]
    with pytest.raises(Exception) as theirs:
        F.linear_cross_entropy(x, weight, target, **options)
    with pytest.raises(type(theirs.value)) as ours:
        linear_cross_entropy(x, weight, target, **options)
    assert str(theirs.value).split("\n")[0].rstrip(".") in str(ours.value)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(3))
def test_function_samples_pass_gradcheck_in_every_mode(start):
    # A part of them: shapes and options come in turns of other lengths.
    for sample in function_samples("", torch.float64)[start::29]:
        weight, target = sample.args
        options = {k: v for k, v in sample.kwargs.items() if k not in ("options", "linear_bias")}
        bias = sample.kwargs.get("linear_bias")
        inputs = [t for t in (sample.input, weight, target, bias) if t is not None and t.requires_grad]

        def loss(x, w, *others, target=target, bias=bias, options=options):
            p = others[0] if target.requires_grad else target
            b = None if bias is None else others[-1]
            # Two rows at a time.
            return linear_cross_entropy(x, w, p, linear_bias=b, max_memory=16 * w[..., 0].numel(), **options)

        assert torch.autograd.gradcheck(loss, inputs, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(loss, inputs, check_fwd_over_rev=True, fast_mode=True)
