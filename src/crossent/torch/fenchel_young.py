"""Fenchel-Young losses: a loss for each way of turning scores into probabilities, with gradient p̂ - p."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossent.errors import invalid_choice, invalid_value
from crossent.torch.family import family_call, family_reduced
from crossent.torch.formulas import rows_of
from crossent.torch.softmax_maps import surprise

MAPPINGS = ("softmax", "sparsemax", "entmax15")


def fenchel_young_loss(input: Tensor, target: Tensor, *, mapping: str = "sparsemax", **options: Any) -> Tensor:
    r"""Return :math:`Ω^*(z) + Ω(p) - \langle z, p \rangle`, which is 0 where the mapping's prediction is the truth.

    Its gradient is the prediction minus the truth. Sparsemax and 1.5-entmax give classes far below the best exactly no
    mass, and their loss is exactly 0 from a margin of 1 and of 2 on.

    Parameters
    ----------
    input, target
        As for :func:`crossent.torch.cross_entropy`; distributions sum to 1.
    mapping : {"softmax", "sparsemax", "entmax15"}
        softmax is the Kullback-Leibler divergence from the truth: for labels, the cross-entropy.
    **options
        ``weight`` (for labels), ``ignore_index``, ``reduction``, ``sample_weight``, ``normalizer``.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As the cross-entropy does.

    References
    ----------
    M. Blondel, A. F. T. Martins and V. Niculae, "Learning with Fenchel-Young losses", JMLR 21 (2020), section 3;
    B. Peters, V. Niculae and A. F. T. Martins, "Sparse sequence-to-sequence models", ACL 2019, section 3.2.

    Examples
    --------
    >>> fenchel_young_loss(torch.tensor([[1.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 0]), reduction="none")
    tensor([0.0000, 0.0625])
    """
    if mapping not in MAPPINGS:
        raise invalid_choice("mapping", mapping, MAPPINGS)
    call = family_call(input, target, options)
    z, rows = rows_of(call)
    if rows.label is not None:
        p = torch.zeros_like(z).scatter(-1, rows.label.unsqueeze(-1), 1.0)
    elif call.weight is not None:
        raise invalid_value("weight", call.weight, "None with distributions")
    else:
        p = target.movedim(call.axis, -1).to(z.dtype)
    losses = {"softmax": _softmax_loss, "sparsemax": _sparsemax_loss, "entmax15": _entmax15_loss}[mapping](z, p)
    return family_reduced(call, losses if rows.label is None else losses * rows.of_label, rows)


def sparsemax(z: Tensor) -> Tensor:
    """Return the point of the simplex nearest to z, along the last axis.

    >>> sparsemax(torch.tensor([0.5, 0.0, -2.0]))
    tensor([0.7500, 0.2500, 0.0000])
    """
    return _sparsemax_excess(z).clamp(min=0.0)


def entmax15(z: Tensor) -> Tensor:
    """Return the 1.5-entmax of z, along the last axis: between softmax and sparsemax.

    >>> entmax15(torch.tensor([1.0, 1.0, -2.0]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    return _entmax15_excess(z).clamp(min=0.0) ** 2


def _ordered(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z = z - z.amax(dim=-1, keepdim=True)
    rank = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    return z, z.sort(dim=-1, descending=True).values, rank


def _sparsemax_excess(z: Tensor) -> Tensor:
    """Return z - τ, whose positive part sums to 1."""
    z, ordered, rank = _ordered(z)
    over = ordered.cumsum(dim=-1) - 1.0
    size = (rank * ordered > over).sum(dim=-1, keepdim=True)
    return z - over.gather(-1, size - 1) / size


def _entmax15_excess(z: Tensor) -> Tensor:
    """Return z/2 - τ, whose positive part's squares sum to 1."""
    z, ordered, rank = _ordered(z / 2.0)
    mean = ordered.cumsum(dim=-1) / rank
    spread = (ordered**2).cumsum(dim=-1) - rank * mean**2
    room = (1.0 - spread) / rank
    # Its root is asked for where a class may be in; elsewhere the derivative of a root at 0 would be infinite.
    threshold = torch.where(room > 0.0, mean - torch.where(room > 0.0, room, 1.0).sqrt(), torch.inf)
    size = (threshold <= ordered).sum(dim=-1, keepdim=True)
    return z - threshold.gather(-1, size - 1)


# A row's z counts up to a constant, as q and p have the same mass: with z - τ for z nothing large cancels, and the
# derivative by way of q is exactly 0.


def _softmax_loss(z: Tensor, p: Tensor) -> Tensor:
    return (p * torch.where(p == 0.0, 0.0, surprise(z))).sum(dim=-1) + torch.xlogy(p, p).sum(dim=-1)


def _sparsemax_loss(z: Tensor, p: Tensor) -> Tensor:
    excess = _sparsemax_excess(z)
    q = excess.clamp(min=0.0)
    return ((excess - (p + q) / 2.0) * (q - p)).sum(dim=-1)


def _entmax15_loss(z: Tensor, p: Tensor) -> Tensor:
    excess = _entmax15_excess(z)
    root = excess.clamp(min=0.0)
    return (2.0 * excess * (root**2 - p) + (4.0 / 3.0) * (p**1.5 - root**3)).sum(dim=-1)
