"""Losses with a backward of their own: the gradient they hand on, compared with the exact one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from crossent import reference
from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.checks.precision import logits_of
from crossent.torch.doctor.findings import Finding

# Beyond it no rounding is to blame.
_WRONG = 0.01


def gradient_of(loss: Tensor, call: LossCall, tell: Callable[[Iterator[tuple[Finding, float]]], None]) -> None:
    """Look at the gradient of one backward of a `torch.autograd.Function`, once it is computed.

    Parameters
    ----------
    call : LossCall
        The loss that its forward has computed.
    tell : callable
        Is given what is found.
    """
    given, node = logits_of(call), loss.grad_fn
    if given is None or node is None or not isinstance(node, BackwardCFunction):
        return

    def look(grad_inputs: tuple[Any, ...], grad_outputs: tuple[Any, ...]) -> None:
        handle.remove()
        grads = [g for g in grad_inputs if isinstance(g, Tensor) and g.shape == given.input.shape]
        if len(grads) == 1 and len(grad_outputs) == 1 and grad_outputs[0] is not None:
            tell(_compare(given, call, grads[0], grad_outputs[0]))

    handle = node.register_hook(look)


def _compare(given: LossCall, call: LossCall, grad: Tensor, factor: Tensor) -> Iterator[tuple[Finding, float]]:
    if factor.numel() != 1:
        return
    exact = reference.cross_entropy_and_grad(
        given.input.double().cpu().numpy(),
        given.target.cpu().numpy(),
        axis=given.axis,
        ignore_index=call.ignore_index,
        reduction=call.reduction,
    ).grad * float(factor)
    seen = grad.detach().double().cpu().numpy()
    largest = float(np.abs(exact).max())
    off = float(np.abs(seen - exact).max())
    if largest > 0 and not off <= _WRONG * largest:
        at = np.unravel_index(int(np.abs(seen - exact).argmax()), exact.shape)
        numbers = {
            "gradient": float(seen[at]),
            "exact gradient": float(exact[at]),
            "worst error, of the largest entry": off / largest,
            "entry": list(map(int, at)),
        }
        yield finding("grad-check", "error", call.where, numbers), off / largest
