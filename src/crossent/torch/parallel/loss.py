"""The cross-entropy of a linear layer whose classes are spread over the ranks of a group."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.distributed import ProcessGroup

from crossent.head.linear import THRESHOLD
from crossent.torch.linear.call import shifted
from crossent.torch.parallel.arguments import Arguments, checked
from crossent.torch.parallel.call import Call, Needs, Result
from crossent.torch.parallel.eager import eager
from crossent.torch.parallel.ranks import Ranks
from crossent.torch.parallel.refusal import Refusal


class _Loss(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        probs: Tensor | None,
        class_weight: Tensor | None,
        sample_weight: Tensor | None,
        call: Call,
        result: Result,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        # Saved so that PyTorch notices what is overwritten between forward and backward.
        ctx.save_for_backward(x, weight, bias, probs, class_weight, sample_weight)
        ctx.call = call
        return result.loss, result.lse

    @staticmethod
    def backward(ctx: Any, loss_bar: Tensor | None, lse_bar: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise NotImplementedError(
                "class_parallel_cross_entropy has no second derivative: expected create_graph=False"
            )
        _ = ctx.saved_tensors
        needs = ctx.needs_input_grad
        try:
            with torch.autocast(ctx.call.arguments.x.device.type, enabled=False):
                gradients = ctx.call.gradients(loss_bar, lse_bar, Needs(needs[1], needs[2], needs[5]))
        except Refusal as refusal:
            raise refusal.error from refusal.error.__cause__
        return *gradients, None, None


@eager
def class_parallel_cross_entropy(
    x: Tensor,
    weight_shard: Tensor,
    target: Any,
    *,
    group: ProcessGroup | None = None,
    row_group: ProcessGroup | None = None,
    bias_shard: Tensor | None = None,
    weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    normalizer: float | Tensor | None = None,
    reduction: str = "mean",
    logit_scale: float = 1.0,
    softcap: float | None = None,
    shift: int = 0,
    max_memory: int | str = "64MiB",
    return_lse: bool = False,
    return_accuracy: bool = False,
    gradient: str = "exact",
    threshold: float = THRESHOLD,
    generator: torch.Generator | None = None,
    check_same: bool = True,
) -> Any:
    r"""Return the cross-entropy of softmax(x Wᵀ + b) in nats, with the rows of W spread over the ranks of a group.

    .. math:: L = \sum_c p_c\,(\mathrm{lse}(z) - z_c),\qquad z = \operatorname{cap}(s\,(x W^\top + b)),\qquad
              \operatorname{cap}(a) = k \tanh(a / k)

    Every rank of the group calls it with the same x and target, gets the same loss, and calls backward. x's gradient is
    whole on every rank; those of ``weight_shard`` and ``bias_shard`` are the rank's own.

    Parameters
    ----------
    x : Tensor (…, D), float16, bfloat16, float32 or float64
        The same on all ranks of ``group``.
    weight_shard : Tensor (c, D)
        The rank's own rows of the weight: the first rank's come first. Their number may differ, and be 0.
    target : Tensor (…) or (…, c), or pair of tensors (…, k)
        Labels in [0, C) or ``ignore_index``, any integer dtype, the same on all ranks; or this rank's own columns of
        distributions, of any mass; or (indices, probabilities) of distributions over k of all C classes, the same on
        all ranks. Distributions may require a gradient.
    group : ProcessGroup, optional
        Over which the classes are spread. None is the default group, or this process alone where
        ``torch.distributed`` is not initialised.
    row_group : ProcessGroup, optional
        Over which rows are spread as well: the ranks that hold the same classes. The mean is then over all rows of all
        of them, and gradients are scaled so that their *mean* over ``row_group``, which DDP and FSDP take, is the
        gradient of that mean (or sum).
    bias_shard : Tensor (c), optional
        Of the rank's own classes; -inf masks a class.
    weight : Tensor (C) or (c), optional
        Class weights: of all classes, or of the rank's own; on every rank the same of the two, if they require a
        gradient.
    sample_weight : Tensor (…), optional
        Multiplies each row's loss, and counts in the mean's denominator; the same on all ranks. May require a gradient,
        which is 0 in rows of weight 0, as these are not computed.
    label_smoothing : float
        :math:`p_c` becomes :math:`(1-ε)p_c + ε/C`, before the class weights; C is the number of classes of all ranks.
    ignore_index : int
        Rows with this label are not computed, whatever is in x.
    z_loss : float
        Adds ``z_loss · lse²`` to each row, times its weight.
    normalizer : float, optional
        The mean's denominator, in place of the summed weights.
    reduction : {"mean", "sum", "none"}
        The mean divides by the summed weight of the kept labels, or by the number (or summed sample weight) of
        distributions; of nothing it is 0, with gradients of 0, so that a rank without rows takes part like any other.
    logit_scale, softcap : float
        s and k above; ``softcap=None`` leaves the logits as they are.
    shift : int
        Row t is held against target t + shift of its sequence, of x of shape (T, D) or (B, T, D).
    max_memory : int or str
        Bytes for logits on this rank. Where all its logits fit, they are kept for backward; where not, they are made
        again, which takes four matrix products instead of three.
    return_lse, return_accuracy : bool
        Return ``(loss, lse)``, ``(loss, accuracy)`` or ``(loss, lse, accuracy)``, from the same pass: lse of the rows'
        shape, differentiable, 0 in rows that take no part; the part of the rows whose largest logit is the target's (of
        equal ones the first class's; where the target is the ranks' own columns, ranks that have one each of equal
        largest logits share it), NaN of no rows.
    gradient : {"exact", "unbiased"}
        "unbiased" rounds entries of the logits' gradient below ``threshold`` at random, as in
        :func:`crossent.torch.linear_cross_entropy`; the loss and the gradients of bias, target and weights stay exact.
        CPU tensors only.
    threshold : float in (0, 1]
    generator : torch.Generator, optional
        Where each call of "unbiased" draws this rank's seed; PyTorch's default generator if None. Seed, row and class
        decide how an entry is rounded: where the ranks' generators are in the same state, it is as in one process.
    check_same : bool
        Compare 20 bits of x, target, sample_weight and normalizer with the other ranks'. Turn it off where ranks
        compute x each for itself and may differ in the last bit.

    Returns
    -------
    Tensor
        A scalar, or of the rows' shape with ``reduction="none"``; float64 if x or the weight is, else float32. With
        ``return_lse`` or ``return_accuracy`` a tuple.

    Raises
    ------
    TypeError, ValueError
        On every rank the same, whichever rank's arguments are wrong, and the group can be used again: a wrong dtype,
        shape or option; ranks that were called differently; a label outside [0, C); a weight or a probability that is
        negative or not finite; x, weight or bias with NaN, or logits with +inf, in a row that takes part.
    RuntimeError
        From PyTorch, where a rank has gone or does not answer within the group's time-out.

    Notes
    -----
    Three all-reduces: the rows' largest logit (MAX, n + 1 entries of the computing dtype), a few columns of sums (SUM,
    m n + 5 float64; m is 2 for labels, 4 for distributions and smoothed labels, one more for labels' class weights,
    and one for the accuracy), and in backward the gradient of x (SUM, n D + 1 entries of the computing dtype). The
    accuracy of distributions by columns takes n entries more in the first; in the last, a gradient of the probabilities
    of k classes takes n k more, and one of class weights that every rank holds whole C. A call that differs from the
    last one in shapes or options costs two small ones more; ``row_group`` costs one of 5 float64.

    Everything is computed in float32 or float64. The label is left out of the sum of exponentials, so that a confident
    row keeps its loss and its gradient, as in :func:`crossent.torch.cross_entropy`. A second backward through the same
    loss is right; a second derivative is refused. A compiled function calls it as it is.

    Examples
    --------
    One process holds all classes:

    >>> import torch
    >>> from crossent.torch.parallel import class_parallel_cross_entropy
    >>> x, weight = torch.tensor([[1.0]]), torch.tensor([[40.0], [0.0]], requires_grad=True)
    >>> loss = class_parallel_cross_entropy(x, weight, torch.tensor([0]))
    >>> loss.backward()
    >>> print(f"{loss.item():.4e}", weight.grad.flatten())
    4.2484e-18 tensor([-4.2484e-18,  4.2484e-18])
    """
    ranks, row_ranks = Ranks(group), None if row_group is None else Ranks(row_group)
    arguments: Arguments | None = None
    error: Exception | None = None
    try:
        if shift and isinstance(x, Tensor):
            x, target, sample_weight = shifted(x, target, sample_weight, shift)
        arguments = checked(
            x,
            weight_shard,
            target,
            bias_shard=bias_shard,
            weight=weight,
            sample_weight=sample_weight,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
            z_loss=z_loss,
            normalizer=normalizer,
            reduction=reduction,
            logit_scale=logit_scale,
            softcap=softcap,
            return_lse=return_lse,
            return_accuracy=return_accuracy,
            gradient=gradient,
            threshold=threshold,
            generator=generator,
            max_memory=max_memory,
            check_same=check_same and ranks.size > 1,
            # More than there are rows: those of two row groups are never rounded alike.
            first_row=0 if row_ranks is None else row_ranks.rank << 40,
        )
    except Exception as problem:
        error = problem
    try:
        device = ranks.device if arguments is None else arguments.x.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            call, made = Call.run(ranks, row_ranks, arguments, error)
    except Refusal as refusal:
        raise refusal.error from refusal.error.__cause__
    a = call.arguments
    loss, lse = _Loss.apply(x, weight_shard, bias_shard, a.probs, a.class_weight, a.sample_weight, call, made)  # type: ignore[no-untyped-call]
    given = tuple(t for t in (loss, lse, made.accuracy) if t is not None)
    return given if len(given) > 1 else loss
