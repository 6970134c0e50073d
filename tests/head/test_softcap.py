"""The gradient through a soft cap, also where it saturates, against exact values of the given numbers."""

import mpmath
import numpy as np
import pytest

import crossent
from crossent.head.loop import run_head
from crossent.head.plan import head_plan
from crossent.head.truth import head_truth

CAP = 8.0
# Raw logits in units of the cap: from far below its bend to where its slope is about to leave float64.
PLACES = (0.0, 1e-9, 0.3, 1.0, 3.0, 9.0, 20.0, 100.0, 340.0)
OPTIONS = [{}, {"label_smoothing": 0.1}, {"z_loss": 0.01}]


def raw_logits(dtype):
    rng = np.random.default_rng(0)
    most = 340.0 if dtype == np.float64 else 40.0
    every = np.array([sign * min(place, most) for place in PLACES for sign in (1, -1)])
    return np.stack([rng.permutation(every) * CAP for _ in range(6)]).astype(dtype)


def exact_gradient(raw, labels, label_smoothing=0.0, z_loss=0.0):
    """Return the derivative of the summed loss by the logits before the cap, as float64."""
    n, c = raw.shape
    grad = np.empty((n, c))
    with mpmath.workdps(400):
        for i in range(n):
            z = [CAP * mpmath.tanh(mpmath.mpf(float(a)) / CAP) for a in raw[i]]
            total = mpmath.fsum(mpmath.exp(each) for each in z)
            pull = 1 + 2 * z_loss * mpmath.log(total)
            for j in range(c):
                p = label_smoothing / c + (1 - label_smoothing if j == labels[i] else 0)
                slope = mpmath.sech(mpmath.mpf(float(raw[i, j])) / CAP) ** 2
                grad[i, j] = float((pull * mpmath.exp(z[j]) / total - p) * slope)
    return grad


def worst_error(found, exact):
    """Return the largest relative error; what is subnormal in the dtype may be off by its smallest number."""
    tiny = np.finfo(found.dtype).tiny
    difference = np.abs(found.astype(np.float64) - exact)
    return float((difference / np.maximum(np.abs(exact), tiny)).max())


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("budget", ["64MiB", 400_000])
def test_every_entry_keeps_its_digits(dtype, options, budget):
    raw = raw_logits(dtype)
    labels = np.arange(len(raw)) % raw.shape[1]
    # With x the identity, the weight's gradient is that of the logits, transposed.
    head = crossent.linear_cross_entropy(
        np.eye(len(raw), dtype=dtype),
        raw.T.copy(),
        labels,
        softcap=CAP,
        reduction="sum",
        max_memory=budget,
        n_threads=1,
        **options,
    )
    exact = exact_gradient(raw, labels, **options)
    # Rounding a capped logit moves its exponential by CAP / 2 ulp; the argument of the slope's may be as large as 680.
    ulps = 6 * CAP + (680 if dtype == np.float64 else 0)
    assert worst_error(head.weight_grad.T, exact) < ulps * np.finfo(dtype).eps


def test_a_caller_with_products_of_its_own_gets_the_same():
    raw = raw_logits(np.float64)
    labels = np.arange(len(raw))
    found = np.empty_like(raw)

    class Products:
        def logits(self, rows, classes, out):
            out[:] = raw[rows, classes]

        def add_weight_grad(self, rows, classes, grad):
            found[rows, classes] = grad

    truth = head_truth(labels, labels.shape, raw.shape[1], raw)
    plan = head_plan(*raw.shape, raw.shape[1], dtype="float64", needs=["weight"], n_threads=1)
    run_head(Products(), truth, plan, dtype=np.float64, softcap=CAP)
    assert worst_error(found, exact_gradient(raw, labels)) < (6 * CAP + 680) * np.finfo(float).eps


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_head_of_pytorch_keeps_them_too(dtype):
    torch = pytest.importorskip("torch")
    from crossent.torch import linear_cross_entropy

    kind = getattr(torch, dtype)
    raw = torch.tensor(raw_logits(np.float64 if dtype == "float64" else np.float32)).to(kind)
    labels = np.arange(len(raw))
    weight = raw.T.clone().requires_grad_()
    loss = linear_cross_entropy(
        torch.eye(len(raw), dtype=kind), weight, torch.tensor(labels), softcap=CAP, reduction="sum"
    )
    loss.backward()
    exact = exact_gradient(raw.double().numpy(), labels)
    found = weight.grad.T.float().numpy() if dtype == "bfloat16" else weight.grad.T.numpy()
    ulps = 6 * CAP + (680 if dtype == "float64" else 0)
    error = torch.finfo(kind).eps * (2 if dtype == "bfloat16" else ulps)
    assert worst_error(found, exact) < error
