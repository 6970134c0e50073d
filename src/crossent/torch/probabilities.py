"""Cross-entropy of predictions given as log-probabilities or as probabilities, without clipping."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossent.torch.family import family_call, family_reduced
from crossent.torch.formulas import rows_of


def cross_entropy_from_log_probs(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    r"""Return :math:`-\sum_c p_c\,\log q_c` of given log-probabilities, in nats: NLLLoss, for distributions too.

    Parameters
    ----------
    input : Tensor (C), (N, C) or (N, C, d1, …)
        Log-probabilities, used as they are. The ones of :func:`torch.log_softmax` have already lost confident rows.
    target
        As for :func:`crossent.torch.cross_entropy`.
    **options
        ``weight``, ``ignore_index``, ``reduction``, ``sample_weight`` and ``normalizer``, as for the cross-entropy.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As the cross-entropy does.

    Examples
    --------
    >>> cross_entropy_from_log_probs(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([0]))
    tensor(0.6931)
    """
    if torch.overrides.has_torch_function_variadic(input, target):
        return torch.overrides.handle_torch_function(
            cross_entropy_from_log_probs, (input, target), input, target, **options
        )
    return _given(input, target, options, lambda row: -row)


def cross_entropy_from_probs(input: Tensor, target: Tensor, **options: Any) -> Tensor:
    r"""Return :math:`-\sum_c p_c\,\log q_c` of given probabilities, in nats, without clipping.

    The truth on a class of probability 0 costs inf; a class without truth costs exactly 0, and has derivative 0.

    Parameters
    ----------
    input : Tensor (C), (N, C) or (N, C, d1, …)
        Probabilities, used as they are: nothing is clipped or normalised.
    target, **options
        As for :func:`cross_entropy_from_log_probs`.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As the cross-entropy does.

    Examples
    --------
    >>> cross_entropy_from_probs(torch.tensor([[1e-30, 1.0]]), torch.tensor([0]))
    tensor(69.0776)
    """
    if torch.overrides.has_torch_function_variadic(input, target):
        return torch.overrides.handle_torch_function(
            cross_entropy_from_probs, (input, target), input, target, **options
        )
    # Near 1 the logarithm of the given number is as accurate as the number: nothing to gain.
    return _given(input, target, options, lambda row: -row.log())


def _given(input: Tensor, target: Tensor, options: dict[str, Any], cost: Any) -> Tensor:
    call = family_call(input, target, options)
    # Rows that take no part are masked before the logarithm: 0 would be one of its poles.
    given, rows = rows_of(call)
    if rows.label is not None:
        label = rows.label.unsqueeze(-1)
        chosen = given.gather(-1, label).squeeze(-1)
        part = rows.take_part
        chosen = chosen if part is None else torch.where(part, chosen, 1.0)
        return family_reduced(call, rows.of_label * cost(chosen), rows)
    p = target.movedim(call.axis, -1).to(given.dtype)
    p = p if rows.class_weight is None else p * rows.class_weight
    costs = torch.where(p == 0.0, 0.0, cost(torch.where(p == 0.0, 1.0, given)))
    return family_reduced(call, (p * costs).sum(dim=-1), rows)
