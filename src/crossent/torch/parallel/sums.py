"""The one SUM of a call: a few columns of the rows, and behind them what is one number for all rows.

The layout is the wire format: ``width`` columns of n entries, then the tail. Everything is float64, which holds the
logits of narrower dtypes and counts up to 2^53 exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.checksum import checksum, differ, moments
from crossent.torch.parallel.statistics import Statistics
from crossent.torch.parallel.truth import Truth
from crossent.torch.softmax_maps import _exp_difference

# Ranks that refuse, and two moments each of the checksums of x and of the rows' truth.
TAIL = 5


class Sums(NamedTuple):
    """Over all ranks and classes, for each row that takes part.

    Attributes
    ----------
    top : Tensor (k)
        The largest logit, in the computing dtype; for labels without smoothing the label's not counted.
    others : Tensor (k)
        Σ exp(z_c - top) of all classes but the label, or but the largest.
    label_logit : Tensor (k) or None
        The label's, which is all the truth there is.
    label_weight : Tensor (k) or None
        The label's class weight.
    gap, mass : Tensor (k) or None
        Σ p_c (top - z_c) and Σ p_c of distributions, which smoothed labels are.
    hit : Tensor (k) or None
        Whether the class with the largest logit is the right one. Ranks that have one each of several equal largest
        logits share it, where distributions say what is right.
    """

    top: Tensor
    others: Tensor
    label_logit: Tensor | None
    label_weight: Tensor | None
    gap: Tensor | None
    mass: Tensor | None
    hit: Tensor | None


def columns(arguments: Arguments) -> tuple[str, ...]:
    """Return the names of the columns, which the configuration decides."""
    names = ("others", "ties", "gap", "mass") if arguments.is_spread else ("others", "label_logit")
    if arguments.labels is not None and arguments.class_weight is not None:
        names = (*names, "label_weight")
    if arguments.options.return_accuracy:
        names = (*names, "right" if arguments.seeks_most else "ahead")
    return names


def blank(arguments: Arguments) -> Tensor:
    """Return a payload without any contribution."""
    entries = len(columns(arguments)) * arguments.rows + TAIL
    return torch.zeros(entries, dtype=torch.float64, device=arguments.x.device)


def write(
    payload: Tensor, arguments: Arguments, truth: Truth, own: Statistics, top: Tensor, most: Tensor | None
) -> None:
    """Write this rank's contribution; ``top`` and ``most`` are the largest logit and probability over the ranks."""
    highest = truth.kept(top)
    lag = _exp_difference(own.top.double(), torch.where(highest == -torch.inf, 0.0, highest).double())
    others = own.others * lag
    values: dict[str, Tensor | None] = {"label_logit": own.label_logit, "label_weight": truth.label_weight()}
    if truth.is_spread:
        short = highest.double() - own.top.double()
        values["gap"] = own.gap + torch.where(own.mass == 0.0, 0.0, own.mass * short)
        values["mass"] = own.mass
        is_top = (own.top == highest) & (highest > -torch.inf)
        values["ties"] = is_top.double()
        # The largest of a rank that does not hold the largest of all is one of the others.
        others = others + torch.where(is_top, 0.0, lag)
    values["others"] = others
    if most is not None:
        right = (own.top == highest) & (truth.probs_at(own.place) == truth.kept(most))
        values["right"] = right.double()
    elif arguments.options.return_accuracy:
        values["ahead"] = _ahead(truth, own, highest)
    for i, name in enumerate(columns(arguments)):
        column = values[name]
        assert column is not None
        payload[i * arguments.rows : (i + 1) * arguments.rows] = truth.spread(column)
    if arguments.check_same:
        payload[-4:] = payload.new_tensor(moments(checksum(arguments.x)) + moments(_rows_checksum(arguments)))


def _ahead(truth: Truth, own: Statistics, highest: Tensor) -> Tensor:
    """Return 1 where a class of this rank is ahead of the right one: of equal ones the first counts as the largest."""
    best = truth.best()
    assert best is not None
    is_top = own.top == highest
    ahead = is_top & (own.place < best)
    if truth.is_spread:
        held = (best >= 0) & (best < truth.layout.counts[truth.layout.rank])
        ahead = ahead | (held & ~(is_top & (own.place == best)))
    return ahead.double()


def _rows_checksum(arguments: Arguments) -> int:
    value = 0 if arguments.normalizer is None else checksum(torch.tensor([arguments.normalizer], dtype=torch.float64))
    few = () if arguments.indices is None else (arguments.indices, arguments.probs)
    for tensor in (arguments.labels, arguments.sample_weight, *few):
        value ^= 0 if tensor is None else checksum(tensor)
    return value


def refusals(payload: Tensor) -> int:
    """Return how many ranks refuse."""
    return int(payload[-TAIL])


def refuse(payload: Tensor) -> None:
    """Make the payload say that this rank refuses."""
    payload.zero_()
    payload[-TAIL] = 1.0


def difference(payload: Tensor, size: int) -> str | None:
    """Return which arguments the ranks do not share, if any: the same answer on every rank."""
    tail: list[float] = payload[-4:].tolist()
    for name, sums in (("x", tail[:2]), ("target, sample_weight or normalizer", tail[2:])):
        if differ(sums, size):
            return name
    return None


def read(payload: Tensor, arguments: Arguments, truth: Truth, top: Tensor) -> Sums:
    """Return the sums of the rows that take part."""
    found: dict[str, Tensor] = {}
    for i, name in enumerate(columns(arguments)):
        found[name] = truth.kept(payload[i * arguments.rows : (i + 1) * arguments.rows])
    others = found["others"]
    if "ties" in found:
        others = others + (found["ties"] - 1.0)
    return Sums(
        truth.kept(top),
        others,
        found.get("label_logit"),
        found.get("label_weight"),
        found.get("gap"),
        found.get("mass"),
        _hit(found, truth.kept(top)),
    )


def _hit(found: dict[str, Tensor], top: Tensor) -> Tensor | None:
    if "ahead" in found:
        hit = found["ahead"] == 0.0
        if "label_logit" in found:  # which top leaves out
            hit = torch.where(found["label_logit"] == top, hit, found["label_logit"] > top)
        return hit.double()
    return found["right"] / found["ties"] if "right" in found else None
