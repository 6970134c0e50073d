"""Loss and gradient of eager CPU tensors in one go: beyond the logits one gradient is all the memory there is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from crossent.targets import Truth
from crossent.torch import formulas, kernels
from crossent.torch.call import Call, is_transformed
from crossent.torch.operators import gradient


class _Fused(Function):
    """The gradient is computed beside the loss, and handed over by the first backward; a second one computes it anew.

    Sixteen bits are rounded once, after the cotangent: where that is not known to be 1, as with float16's gradient
    scalers, the gradient is computed in backward.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: Call, truth: Truth, inplace: bool) -> Tensor:
        ctx.inplace, ctx.grad = inplace, None
        late = logits.dtype == torch.float16 or (logits.dtype == torch.bfloat16 and call.reduction == "none")
        if not late:
            ctx.grad = logits.detach() if inplace else kernels.empty_gradient(logits)
        loss = kernels.run(call, truth, out=ctx.grad)
        if inplace and ctx.grad is not None:
            torch.autograd.graph.increment_version(logits)
            ctx.options = None
        else:
            ctx.save_for_backward(logits, *call[1:4])
            ctx.options = call[4:]
        return loss

    @staticmethod
    def backward(ctx: Any, loss_bar: Tensor) -> tuple[Tensor | None, ...]:
        grad, ctx.grad = ctx.grad, None
        return _gradient(ctx, grad, loss_bar), None, None, None


def _gradient(ctx: Any, grad: Tensor | None, loss_bar: Tensor) -> Tensor:
    # Many cotangents at once: is_grads_batched=True, or torch.func around the backward.
    many = is_transformed() or torch._C._functorch.is_legacy_batchedtensor(loss_bar)
    used = grad
    if grad is not None and grad.itemsize == 2 and ctx.options is not None and not many and loss_bar.item() != 1.0:
        grad = None
    again = grad is None or torch.is_grad_enabled()
    if again and ctx.options is None:
        raise RuntimeError(
            "inplace=True: the logits hold their gradient, so that there is one backward and no second derivative"
        )
    if again:
        call = Call(*ctx.saved_tensors, *ctx.options)
        logits = call.logits
        if torch.is_grad_enabled():  # create_graph=True: as a function of the logits and of the cotangent
            (grad,) = torch.autograd.grad(formulas.cross_entropy(call), logits, loss_bar, create_graph=True)
            return grad
        if not many:
            if ctx.inplace:
                torch.autograd.graph.increment_version(logits)
            return gradient(call, loss_bar, logits.detach() if ctx.inplace else used)
        grad = gradient(call, torch.ones(loss_bar.shape, dtype=loss_bar.dtype))
    assert grad is not None
    factor = loss_bar.to(grad.dtype)
    if loss_bar.ndim > 0:
        factor = factor.unsqueeze(min(1, grad.ndim - 1))
    if many:
        return grad * factor
    return grad if loss_bar.ndim == 0 and loss_bar.item() == 1.0 else grad.mul_(factor)


def cross_entropy(call: Call, truth: Truth, inplace: bool) -> Tensor:
    """Return the loss; with ``inplace`` the logits are overwritten by their gradient, at the latest in backward."""
    if not (torch.is_grad_enabled() and call.logits.requires_grad):
        return kernels.run(call, truth)
    result: Tensor = _Fused.apply(call.logits, call, truth, inplace)  # type: ignore[no-untyped-call]
    return result
