"""The promised accuracy, through autograd: by the kernels, and by the formulas that other devices take."""

from __future__ import annotations

import numpy as np
import pytest
from families import DTYPES, families
from judge import PROMISES, Errors, measure
from oracle import exact_labels

torch = pytest.importorskip("torch")

from autograd_promise import broken_promises  # noqa: E402

from crossent.torch import cross_entropy, formulas  # noqa: E402
from crossent.torch.call import checked_call  # noqa: E402

ROWS = {2: 30, 10: 30, 100: 10, 1000: 3, 100_000: 1}


def by_formulas(z, label):
    return formulas.cross_entropy(checked_call(z, label, None, -100, "none", 0.0))


def by_kernels(z, label):
    return cross_entropy(z, label, reduction="none")


@pytest.mark.parametrize("loss", [by_kernels, by_formulas])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_loss_and_gradient_keep_the_promise(loss, dtype, rng):
    broken = broken_promises(loss, dtype, ROWS, PROMISES[dtype], rng)
    assert not broken, "\n".join(broken)


def test_pytorchs_own_breaks_it(rng):
    """So that the measure is known to see a collapse."""
    errors = Errors()
    for family in families(np.dtype(np.float32), 10, 10, rng):
        z = torch.from_numpy(family.logits).requires_grad_()
        values = torch.nn.functional.cross_entropy(z, torch.from_numpy(family.label), reduction="none")
        (grad,) = torch.autograd.grad(values.sum(), z)
        exact = exact_labels(family.logits, family.label)
        errors |= measure(values.detach().numpy(), grad.numpy(), family.label, exact)
    assert errors.false_zeros > 0
