"""PyTorch's cross-entropy, for the same arguments, without its collapse on confident rows."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import _reduction as legacy

from crossent.torch import formulas, fused, kernels
from crossent.torch.call import Call, checked_call, compute_dtype, is_transformed
from crossent.torch.log_mean import log_mean
from crossent.torch.operators import operator


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    sample_weight: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
    inplace: bool = False,
) -> Any:
    r"""Return the cross-entropy of softmax(input) against the target, in nats: a drop-in for PyTorch's.

    .. math:: L = \sum_c p_c\,(\mathrm{lse}(z) - z_c),\qquad \frac{\partial L}{\partial z_c} = P\,q_c - p_c

    The arguments, shapes, dtypes and exceptions of :func:`torch.nn.functional.cross_entropy`, and its numbers, but for
    its rounding: loss and gradient keep their leading digits at every margin that the dtype can express, where
    PyTorch's are exactly 0 from a margin of 17 nats on (float32). Differentiable to any order, forward and reverse.

    Parameters
    ----------
    input : Tensor (C), (N, C) or (N, C, d1, …), float16, bfloat16, float32 or float64
        Logits. 16-bit ones are computed in float32 and rounded once. A class at -inf takes no part.
    target : Tensor
        Labels in [0, C) or ``ignore_index``, any integer dtype, of the rows' shape; or distributions of the input's
        shape.
    weight : Tensor (C), optional
        Class weights.
    size_average, reduce : optional
        PyTorch's deprecated forms of ``reduction``.
    ignore_index : int
        Rows with this label contribute exactly nothing, whatever their logits, NaN included.
    reduction : {"mean", "sum", "none", "log-mean"}
        As PyTorch: the mean divides by the summed weight of the kept labels, or by the number of distributions, and is
        NaN when nothing is kept. ``"log-mean"`` is the logarithm of the mean, exact also where the mean itself is below
        the dtype's range: its gradient does not fade as the rows become confident.
    label_smoothing : float
        :math:`p_c` becomes :math:`(1-ε)p_c + ε/C`, before the class weights.
    sample_weight : Tensor of the rows' shape, optional
        Multiplies each row's loss, and counts in the mean's denominator. A row of weight 0 contributes exactly nothing.
    normalizer : float, optional
        The mean's denominator, in place of the summed weights: for gradient accumulation.
    z_loss : float
        Adds ``z_loss · lse²`` to each row, times its weight.
    return_lse : bool
        Return ``(loss, lse)``, with lse of the rows' shape in the computing dtype, differentiable.
    inplace : bool
        Let the gradient overwrite the logits (CPU): no memory is needed beyond them, they must not be used afterwards,
        and there is one backward and no second derivative. Ignored where the loss is compiled or transformed.

    Returns
    -------
    Tensor
        A scalar, or of the rows' shape with ``reduction="none"``; in the input's dtype, as PyTorch.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        What PyTorch raises for the same mistake; a ValueError for one in the options that it does not have.

    Notes
    -----
    Eager CPU tensors go to the native kernels, without a copy, and one gradient is all the memory beyond the logits.
    Any other device, and forward-mode or functional transforms, take the same formulas in torch operations. With
    ``CROSSENT_TRITON=1`` in the environment, rows of labels on CUDA, without weights, smoothing or ``z_loss``, go to
    Triton kernels of the same formulas, differentiable once, where a label outside of [0, C) gives NaN. They are tested
    under Triton's interpreter; we have not run or timed them on a GPU.

    References
    ----------
    The formulas are those of :func:`crossent.cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from crossent.torch import cross_entropy
    >>> logits = torch.tensor([[40.0, 0.0]], requires_grad=True)
    >>> loss = cross_entropy(logits, torch.tensor([0]))
    >>> loss.backward()
    >>> print(f"{loss.item():.4e}", logits.grad)
    4.2484e-18 tensor([[-4.2484e-18,  4.2484e-18]])
    >>> torch.nn.functional.cross_entropy(logits, torch.tensor([0])).item()
    0.0
    """
    if torch.overrides.has_torch_function_variadic(input, target, weight):
        return torch.overrides.handle_torch_function(
            cross_entropy,
            (input, target, weight),
            input,
            target,
            weight=weight,
            size_average=size_average,
            ignore_index=ignore_index,
            reduce=reduce,
            reduction=reduction,
            label_smoothing=label_smoothing,
            sample_weight=sample_weight,
            normalizer=normalizer,
            z_loss=z_loss,
            return_lse=return_lse,
            inplace=inplace,
        )
    if size_average is not None or reduce is not None:
        reduction = legacy.legacy_get_string(size_average, reduce)
    call = checked_call(
        input, target, weight, ignore_index, reduction, label_smoothing, sample_weight, normalizer, z_loss
    )
    if call.reduction == "none" and call.loss_dtype.itemsize > input.dtype.itemsize and not call.is_soft:
        # Under autocast: the kernels write the losses of the rows in the logits' dtype.
        call = call._replace(logits=input.to(call.loss_dtype))
    if inplace and input.is_leaf and input.requires_grad:
        raise ValueError("inplace=True: the input is a leaf, whose values would be replaced by their own gradient")
    if not return_lse:
        return _loss(call, inplace)
    lse = torch.logsumexp(input.to(compute_dtype(input.dtype)), dim=call.axis)
    return _loss(call, inplace), lse


def _loss(call: Call, inplace: bool) -> Tensor:
    """Return the loss by the quickest way that its tensors and the transforms around it allow."""
    opaque = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    on_cpu = call.logits.device.type == "cpu"
    transformed = is_transformed()
    plain = on_cpu and not opaque and not transformed
    others = (call.target, call.weight, call.sample_weight)
    if call.reduction == "log-mean" or not on_cpu or any(t is not None and t.requires_grad for t in others):
        if plain:
            kernels.check_labels(call)
        if _asks_for_triton(call) and not opaque and not transformed:
            from crossent.torch import triton_kernels

            if triton_kernels.takes(call):
                return triton_kernels.cross_entropy(call)
        return log_mean(call) if call.reduction == "log-mean" else formulas.cross_entropy(call)
    if opaque and not transformed:
        return operator(call)
    truth = kernels.truth(call) if plain else None
    return formulas.cross_entropy(call) if truth is None else fused.cross_entropy(call, truth, inplace)


def _asks_for_triton(call: Call) -> bool:
    return call.logits.device.type == "cuda" and os.environ.get("CROSSENT_TRITON") == "1"


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """The cross-entropy as a module: a drop-in for :class:`torch.nn.CrossEntropyLoss`.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction, label_smoothing
        As PyTorch's, in its order; ``reduction`` may also be ``"log-mean"``.
    z_loss, return_lse, inplace
        As for :func:`cross_entropy`. ``sample_weight`` and ``normalizer`` go with the batch: they are arguments of the
        call.

    Examples
    --------
    >>> import torch
    >>> from crossent.torch import CrossEntropyLoss
    >>> CrossEntropyLoss(label_smoothing=0.1)(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        z_loss: float = 0.0,
        return_lse: bool = False,
        inplace: bool = False,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.z_loss = z_loss
        self.return_lse = return_lse
        self.inplace = inplace

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        *,
        sample_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Any:
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            sample_weight=sample_weight,
            normalizer=normalizer,
            z_loss=self.z_loss,
            return_lse=self.return_lse,
            inplace=self.inplace,
        )
