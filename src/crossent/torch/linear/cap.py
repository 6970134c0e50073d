"""The soft cap of logits, cap · tanh(a / cap), and its slope, which keeps its digits where the cap saturates."""

from __future__ import annotations

import torch
from torch import Tensor


def capped(a: Tensor, cap: float) -> Tensor:
    """Return cap · tanh(a / cap), differentiable to any order.

    PyTorch's derivative of tanh is 1 - tanh², which cancels. That of (1 - e) / (1 + e) with e = exp(-2 |u|) is a sum of
    two terms of one sign; near 0, where |u| has no derivative, tanh is as good.
    """
    u = a / cap
    e = torch.exp(-2.0 * u.abs())
    return cap * torch.where(u.abs() < 1.0, torch.tanh(u), u.sign() * (1.0 - e) / (1.0 + e))


def slope_(a: Tensor, cap: float) -> Tensor:
    """Return the derivative 1 / cosh(a / cap)² in the place of a; 0 where cosh² leaves the dtype's range."""
    return a.div_(cap).cosh_().square_().reciprocal_()
