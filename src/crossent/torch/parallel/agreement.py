"""What the ranks of a group have agreed on: the configuration of the calls that follow, and who holds which classes.

A rank cannot know by itself whether the others were given the same: a check that only some ranks make would leave
the others in another collective operation. So a call always begins with the one that the *last agreed* configuration
begins with, the MAX, of the size that all know, and with one entry more: whoever was given something else sets it.
Then all compare what they were given, agree or raise, and start again. While nothing changes this costs that one entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.layout import Layout
from crossent.torch.parallel.ranks import Ranks
from crossent.torch.parallel.refusal import Refusal, described, first_error

# Of what the ranks compare, these are each rank's own.
_OWN = ("classes", "number of class weights")


class _Agreed(NamedTuple):
    text: str
    layout: Layout
    payload: Callable[[], Tensor]


_AGREED: WeakKeyDictionary[ProcessGroup, _Agreed] = WeakKeyDictionary()


def largest_over_ranks(
    ranks: Ranks,
    arguments: Arguments | None,
    error: Exception | None,
    local: Callable[[Layout, Tensor], None],
) -> tuple[Layout, Tensor]:
    """Return the layout, and the rows' largest logit (and probability) over all ranks.

    Parameters
    ----------
    arguments, error
        The call, or why this rank refuses it.
    local : callable
        Writes this rank's largest logits for a layout into a payload that is -inf, and behind them the largest
        probabilities where they are sought. It must not raise.

    Raises
    ------
    Refusal
        If a rank refuses its call, or if they were called differently; on every rank.
    """
    text = described(ranks, error) if arguments is None else arguments.fingerprint()
    agreed = None if ranks.group is None else _AGREED.get(ranks.group)
    while True:
        payload = torch.full((1,), -torch.inf, device=ranks.device) if agreed is None else agreed.payload()
        same = agreed is not None and agreed.text == text
        if agreed is not None and same:
            local(agreed.layout, payload[:-1])
        payload[-1] = 0.0 if same else 1.0
        ranks.max_(payload)
        if agreed is not None and not payload[-1]:
            return agreed.layout, payload[:-1]
        layout = _agree(ranks, text, error)
        assert arguments is not None
        agreed = _Agreed(text, layout, _payload_of(arguments))
        if ranks.group is not None:
            _AGREED[ranks.group] = agreed


def _payload_of(arguments: Arguments) -> Callable[[], Tensor]:
    # Not the arguments themselves: they would be kept alive for as long as the group.
    entries, dtype, device = arguments.rows * (1 + arguments.seeks_most) + 1, arguments.dtype, arguments.x.device
    return lambda: torch.full((entries,), -torch.inf, dtype=dtype, device=device)


def _agree(ranks: Ranks, text: str, own: Exception | None) -> Layout:
    texts = ranks.texts(text)
    error = first_error(ranks, texts, own)
    if error is not None:
        raise Refusal(error)
    told = [json.loads(each) for each in texts]
    counts, weights = (tuple(each.pop(own) for each in told) for own in _OWN)
    for rank, each in enumerate(told):
        for name, value in each.items():
            if value != told[0].get(name):
                ours, theirs = f"{told[0].get(name)} on {ranks.name(0)}", f"{value} on {ranks.name(rank)}"
                raise Refusal(ValueError(f"{name} is {ours} and {theirs}: expected the same"))
    if sum(counts) == 0:
        raise Refusal(ValueError("weight_shard has no rows on any rank: expected at least one class"))
    return Layout(counts, ranks.rank, all(each == sum(counts) for each in weights))
