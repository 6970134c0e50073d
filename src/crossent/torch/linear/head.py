"""A linear layer and its cross-entropy in one: the logits of all rows are never there at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.head.linear import THRESHOLD
from crossent.head.plan import GRADIENTS
from crossent.torch.call import is_transformed
from crossent.torch.linear import fused, operators, rows
from crossent.torch.linear.call import HeadCall, head_call
from crossent.torch.linear.results import check_labels


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Any,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: nn.LinearCrossEntropyOptions | None = None,
    sample_weight: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    z_loss: float = 0.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    shift: int = 0,
    max_memory: int | str = "64MiB",
    return_lse: bool = False,
    return_accuracy: bool = False,
    gradient: str = "exact",
    threshold: float = THRESHOLD,
    generator: torch.Generator | None = None,
) -> Any:
    r"""Return the cross-entropy of softmax(input · linear_weightᵀ + linear_bias), in nats, a few rows at a time.

    .. math:: L = \sum_c p_c\,(\mathrm{lse}(z) - z_c),\qquad z = s\,(x W^T + b)

    The arguments, shapes and exceptions of :func:`torch.nn.functional.linear_cross_entropy`, and more; the
    (N, C) logits are never there at once. Differentiable to any order, forward and reverse, chunk by chunk.

    Parameters
    ----------
    input : Tensor (D), (N, D), or with ``shift`` also (B, T, D)
    linear_weight : Tensor (C, D) or (C, d1, …, D), of the input's dtype
    target : Tensor, or pair of tensors
        As for :func:`crossent.torch.cross_entropy` of the logits (N, C, d1, …); or (indices, probabilities), both
        (N, k): a distribution over a few classes.
    linear_bias : Tensor (C) or (C, d1, …), optional
    weight, reduction, ignore_index, label_smoothing, sample_weight, normalizer, z_loss
        As for :func:`crossent.torch.cross_entropy`. Rows that take no part are not computed.
    options : torch.nn.LinearCrossEntropyOptions, optional
        Its ``batch_chunk_size`` sets the rows of a chunk. Nothing else is needed: a second backward is always allowed,
        and sums are in float32 or better.
    logit_scale : float
        s above.
    softcap : float, optional
        The logits become softcap · tanh(z / softcap).
    shift : int
        Row t is held against target t + shift of its sequence.
    max_memory : int or str
        Bytes for the logits of a chunk and what is made of them.
    return_lse, return_accuracy : bool
        Return ``(loss, lse)``, ``(loss, accuracy)`` or ``(loss, lse, accuracy)``, from the same pass: lse of the rows'
        shape, differentiable, 0 in rows that take no part; the part of the rows whose largest logit is the target's.
    gradient : {"exact", "unbiased"}
        "unbiased" rounds entries of the logits' gradient below ``threshold`` (times the row's weight) at random to 0 or
        the threshold, so that the gradients of input and weights have the exact expectation and the products behind
        them few terms; see :func:`crossent.linear_cross_entropy`. The loss and the bias's gradient stay exact. CPU
        tensors, one place a row; the first derivative alone, not traced by a compiler.
    threshold : float in (0, 1]
        A row keeps at most 2 / threshold entries in expectation.
    generator : torch.Generator, optional
        Where each call of "unbiased" draws its seed; PyTorch's default generator if None.

    Returns
    -------
    Tensor
        In the input's dtype, as PyTorch.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        What PyTorch raises for the same mistake; a ValueError for one in the options that it does not have.

    Notes
    -----
    On the CPU float16, float32 and float64 have the same bits for every ``max_memory`` and number of threads. A budget
    too small for one block of rows is taken as what that block needs. bfloat16, whose products are PyTorch's, other
    devices and several places a row agree for two budgets to the rounding of the matrix products.

    Examples
    --------
    >>> import torch
    >>> from crossent.torch import linear_cross_entropy
    >>> x, weight = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[40.0], [0.0]])
    >>> loss = linear_cross_entropy(x, weight, torch.tensor([0]))
    >>> loss.backward()
    >>> print(f"{loss.item():.4e} {x.grad.item():.4e}")
    4.2484e-18 -1.6993e-16
    """
    call = head_call(
        input,
        linear_weight,
        target,
        linear_bias,
        shift=shift,
        logit_scale=logit_scale,
        softcap=softcap,
        max_memory=max_memory,
        chunk_rows=None if options is None else options.batch_chunk_size,
        ignore_index=ignore_index,
        sample_weight=sample_weight,
        weight=weight,
        reduction=reduction,
        label_smoothing=label_smoothing,
        normalizer=normalizer,
        z_loss=z_loss,
    )
    if gradient != "exact":
        call = _unbiased(call, gradient, threshold, generator)
    result = _result(call, return_lse, return_accuracy)
    shape = call.rows
    loss = result.loss.reshape(shape) if reduction == "none" else result.loss
    lse = None if result.lse is None else result.lse.reshape(shape)
    given = tuple(t for t in (loss, lse, result.accuracy) if t is not None)
    return given if len(given) > 1 else loss


def _unbiased(call: HeadCall, gradient: str, threshold: float, generator: torch.Generator | None) -> HeadCall:
    if gradient not in GRADIENTS:
        raise invalid_choice("gradient", gradient, GRADIENTS)
    if not 0 < threshold <= 1:
        raise invalid_value("threshold", threshold, "a number in (0, 1]")
    if not isinstance(generator, torch.Generator | None):
        raise invalid_type("generator", generator, "a torch.Generator, or None")
    others = (call.loss.target, call.loss.weight, call.loss.sample_weight)
    if torch.compiler.is_compiling() or is_transformed() or call.loss.reduction == "log-mean":
        raise ValueError('gradient="unbiased": expected no compiler, no torch.func around it, and no "log-mean"')
    if any(t is not None and t.requires_grad for t in others):
        raise ValueError('gradient="unbiased": expected target and weights that need no gradient')
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return call._replace(threshold=float(threshold), seed=seed)


def _result(call: HeadCall, return_lse: bool, return_accuracy: bool) -> rows.Result:
    """Return the result by the quickest way that the tensors and the transforms around it allow."""
    others = (call.loss.target, call.loss.weight, call.loss.sample_weight)
    everywhere = call.loss.reduction == "log-mean" or any(t is not None and t.requires_grad for t in others)
    compiling = torch.compiler.is_compiling()
    opaque = compiling or torch._C._len_torch_dispatch_stack() > 0
    # The operator's backward cannot differentiate the formulas, as lse asks for: there the loop itself is compiled.
    if compiling and not everywhere and not return_lse and not is_transformed():
        return operators.linear_cross_entropy(call, return_accuracy)
    if everywhere or opaque or is_transformed():
        if call.x.device.type == "cpu" and not opaque and not is_transformed():
            check_labels(call)
        return rows.evaluate(call, return_lse, return_accuracy)
    return fused.linear_cross_entropy(call, return_lse, return_accuracy)
