"""The Triton kernels, under Triton's interpreter where there is no GPU: the promise of the other routes for labels."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest
from families import BFLOAT16, DTYPES, FLOAT64
from judge import PROMISES

torch = pytest.importorskip("torch")
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is defined
pytest.importorskip("triton", reason="Triton is not among what the tests install: make triton")

from autograd_promise import broken_promises  # noqa: E402

from crossent.torch import formulas, triton_kernels  # noqa: E402
from crossent.torch.call import checked_call  # noqa: E402

# The interpreter computes in NumPy, which warns of inf - inf; a GPU does not, and the kernels mean it.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# More classes than a block are several; 9000 is no multiple of one.
ROWS = {2: 3, 10: 3, 1000: 1, 9000: 1}
NARROW = [dtype for dtype in DTYPES if dtype != FLOAT64]


def by_kernels(z, label):
    return triton_kernels.cross_entropy(checked_call(z, label, None, -100, "none", 0.0))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_loss_and_gradient_keep_the_promise(dtype, rng):
    promise = PROMISES[dtype]
    if dtype == BFLOAT16:
        # The interpreter's own cast to bfloat16 gets subnormal numbers wrong; in float32 they are checked.
        promise = replace(promise, subnormal=math.inf)
    broken = broken_promises(by_kernels, dtype, ROWS, promise, rng)
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_rows_contribute_nothing_and_rows_need_not_be_packed(reduction):
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(6, 20, generator=generator)
    label = torch.tensor([3, -1, 0, 6, -1, 2])
    wide[1, 2], wide[4] = torch.nan, -torch.inf
    results = []
    for loss in (triton_kernels.cross_entropy, formulas.cross_entropy):
        z = wide.clone().requires_grad_()
        value = loss(checked_call(z[:, :7], label, None, -1, reduction, 0.0))
        (2.5 * value).sum().backward()
        results.append((value.detach(), z.grad))
    torch.testing.assert_close(*results, rtol=2e-6, atol=0)


def test_a_label_out_of_range_gives_nan_and_reads_nothing():
    z = torch.zeros(3, 4).requires_grad_()
    losses = triton_kernels._Losses.apply(z, torch.tensor([1, 4, -7]), -100)
    losses.sum().backward()
    assert torch.isnan(losses).tolist() == [False, True, True]
    assert torch.isnan(z.grad).all(dim=1).tolist() == [False, True, True]


def test_a_second_derivative_is_refused():
    z = torch.randn(3, 4, requires_grad=True)
    (grad,) = torch.autograd.grad((by_kernels(z, torch.arange(3)) ** 2).sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_what_the_kernels_do_not_know_is_left_to_the_formulas():
    z, label = torch.zeros(3, 4), torch.arange(3)
    takes = triton_kernels.takes
    assert takes(checked_call(z, label, None, -100, "mean", 0.0))
    assert not takes(checked_call(z, label, None, -100, "mean", 0.1))
    assert not takes(checked_call(z, label, torch.ones(4), -100, "mean", 0.0))
    assert not takes(checked_call(z, z.softmax(1), None, -100, "mean", 0.0))
    assert not takes(checked_call(z.double(), label, None, -100, "mean", 0.0))
    assert not takes(checked_call(z, label, None, -100, "log-mean", 0.0))
