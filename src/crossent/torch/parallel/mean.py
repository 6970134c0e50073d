"""One denominator over all the rows of all ranks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.distributed import ProcessGroup

from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.torch.parallel.eager import eager
from crossent.torch.parallel.ranks import Ranks
from crossent.torch.parallel.refusal import Refusal, refusal

GRADIENTS = ("averaged", "summed")


class _GlobalMean(Function):
    @staticmethod
    def forward(ctx: Any, loss_sum: Tensor, mean: float, factor: float) -> Tensor:
        ctx.factor = factor
        return loss_sum.new_tensor(mean)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor, None, None]:
        return bar * ctx.factor, None, None


@eager
def global_mean(
    loss_sum: Tensor,
    count: float | Tensor,
    group: ProcessGroup | None = None,
    *,
    gradients: str = "averaged",
) -> Tensor:
    r"""Return the mean over the rows of all ranks, from each rank's own sum and count.

    .. math:: \frac{\sum_r \mathrm{loss\_sum}_r}{\sum_r \mathrm{count}_r}

    The mean of the ranks' means is something else as soon as they count differently: with ignored rows, class or
    sample weights, or a shorter last batch. Here every row counts the same, whichever rank has it.

    Parameters
    ----------
    loss_sum : Tensor ()
        This rank's summed loss: with ``reduction="sum"``. 0 of a rank without rows, but from the same network, so that
        its backward runs as everywhere.
    count : float or Tensor ()
        What the mean divides by: this rank's kept rows, or their summed weights.
    group : ProcessGroup, optional
        Over which the rows are spread. None is the default group, or this process alone where ``torch.distributed``
        is not initialised.
    gradients : {"averaged", "summed"}
        What is done with the ranks' gradients afterwards. DDP and FSDP average them, and the gradient that reaches
        ``loss_sum`` is the number of ranks times what a sum would need.

    Returns
    -------
    Tensor ()
        The same on every rank; 0, with gradients of 0, where nothing is counted on any.

    Raises
    ------
    TypeError, ValueError
        On every rank the same: ``loss_sum`` is no scalar, or a count is negative or not finite.

    Notes
    -----
    One all-reduce of 3 float64.

    Examples
    --------
    >>> import torch
    >>> from crossent.torch import cross_entropy
    >>> from crossent.torch.parallel import global_mean
    >>> logits, labels = torch.zeros(3, 2), torch.tensor([0, 1, -100])
    >>> global_mean(cross_entropy(logits, labels, reduction="sum"), (labels != -100).sum())
    tensor(0.6931)
    """
    ranks = Ranks(group)
    error: Exception | None = None
    numbers = [0.0, 0.0]
    try:
        if gradients not in GRADIENTS:
            raise invalid_choice("gradients", gradients, GRADIENTS)
        numbers = _numbers(loss_sum, count)
    except Exception as problem:
        error = problem
    try:
        total, denominator = over_row_groups(ranks, numbers, error)
    except Refusal as refused:
        raise refused.error from refused.error.__cause__
    mean = total / denominator if denominator else 0.0
    factor = (ranks.size if gradients == "averaged" else 1) / denominator if denominator else 0.0
    result: Tensor = _GlobalMean.apply(loss_sum, mean, factor)  # type: ignore[no-untyped-call]
    return result


def over_row_groups(ranks: Ranks, numbers: list[float], error: Exception | None) -> list[float]:
    """Return numbers summed over the ranks, as a loss and a count.

    Raises
    ------
    Refusal
        On every rank, if there is an error on one.
    """
    payload = torch.tensor([*numbers, float(error is not None)], dtype=torch.float64, device=ranks.device)
    ranks.sum_(payload)
    if payload[-1]:
        raise refusal(ranks, error)
    return [float(number) for number in payload[:-1]]


def _numbers(loss_sum: Tensor, count: float | Tensor) -> list[float]:
    if not isinstance(loss_sum, Tensor):
        raise invalid_type("loss_sum", loss_sum, "a tensor")
    if loss_sum.ndim or not loss_sum.is_floating_point():
        raise ValueError(
            f"loss_sum has shape {tuple(loss_sum.shape)} and dtype {loss_sum.dtype}: expected a floating scalar"
        )
    number = float(count)
    if not 0 <= number < math.inf:
        raise invalid_value("count", number, "a finite number of at least 0")
    return [float(loss_sum.detach()), number]
