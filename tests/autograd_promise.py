"""The promise about the errors for labels, of a loss in PyTorch through autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from families import families
from judge import Promise, measure
from oracle import exact_labels
from torch import Tensor

from crossent.torch.kernels import as_numpy, as_tensor


def broken_promises(
    loss: Callable[[Tensor, Tensor], Tensor],
    dtype: Any,
    rows: Mapping[int, int],
    promise: Promise,
    rng: np.random.Generator,
) -> list[str]:
    """Say where a loss per row is worse than promised; ``rows`` has how many rows of each family, by classes."""
    broken = []
    for classes, n in rows.items():
        for family in families(dtype, n, classes, rng):
            z = as_tensor(family.logits, getattr(torch, dtype.name)).requires_grad_()
            values = loss(z, torch.from_numpy(family.label))
            (grad,) = torch.autograd.grad(values.sum(), z)
            exact = exact_labels(family.logits, family.label)
            errors = measure(as_numpy(values), as_numpy(grad), family.label, exact)
            broken += [f"{classes} classes, {family.name}: {failure}" for failure in promise.broken(errors)]
    return broken
