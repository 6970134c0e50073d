"""The rows' losses and the coefficients of their gradients, from what the ranks summed; float64, the same on all.

For labels, with D = top - z_y and S = Σ_{c≠y} exp(z_c - top), the odds against the label are o = e^D S, and::

    lse - z_y = log(1 + o) = D + log(S + e^-D)
    1 - q_y   = o / (1 + o) = S / (S + e^-D)
    q_c       = exp(z_c - top) · e^D / (1 + o) = exp(z_c - top) / (S + e^-D)

Nothing is subtracted from 1; where D > 0 the second forms cannot overflow. For distributions top is the largest logit,
and S the sum of all the others.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.sums import Sums
from crossent.torch.softmax_maps import _difference


class Rows(NamedTuple):
    """For each row that takes part, its sample weight not counted.

    The gradient of a logit is ``factor · exp(z_c - top) - p_c``; at the label it is ``special``, and for distributions
    ``special + (mass - p_c)`` at the largest logit, where q_c and p_c may both be nearly all there is.

    Attributes
    ----------
    loss : Tensor (k)
    weight : Tensor (k)
        What the row counts for in a mean.
    of_label : Tensor (k)
        What the label's class weight multiplies by itself: lse - z_y, unless smoothing makes that a part of a
        distribution, and the z-loss.
    top, factor, special, mass : Tensor (k)
    lse, above : Tensor (k)
        The log-sum-exp, and how far it is above ``top``.
    unit, share : Tensor (k)
        What the gradient of the log-sum-exp has for ``factor`` and ``special``.
    hit : Tensor (k) or None
        Whether the largest logit is the right class's.
    """

    loss: Tensor
    weight: Tensor
    of_label: Tensor
    top: Tensor
    factor: Tensor
    special: Tensor
    mass: Tensor
    lse: Tensor
    above: Tensor
    unit: Tensor
    share: Tensor
    hit: Tensor | None


class _Odds(NamedTuple):
    loss: Tensor  # lse - z of the class set apart
    against: Tensor  # 1 - q of it
    share: Tensor  # q of it
    unit: Tensor  # q of a class whose logit is top
    above: Tensor  # lse - top
    lse: Tensor


def rows_of(arguments: Arguments, sums: Sums) -> Rows:
    """Return the rows' losses and coefficients."""
    options = arguments.options
    odds = _against_label(sums) if sums.label_logit is not None else _against_largest(sums)
    ones, none = torch.ones_like(sums.others), torch.zeros_like(sums.others)
    weight = ones if sums.label_weight is None else sums.label_weight
    at_label = none if sums.label_logit is None else weight
    mass = none if sums.mass is None else sums.mass
    loss = _charged(at_label, odds.loss)
    if sums.gap is not None:
        loss = loss + sums.gap + _charged(mass, odds.above)
    of_label = none if sums.label_logit is None else odds.loss
    zeta = options.z_loss * weight
    if options.z_loss:
        of_label = of_label + options.z_loss * odds.lse**2
        loss, zeta = loss + zeta * odds.lse**2, 2.0 * zeta * odds.lse
    if sums.label_logit is None:
        special = zeta * odds.share - mass * odds.against
    else:
        special = (mass + zeta) * odds.share - at_label * odds.against
    top = torch.where(sums.top == -torch.inf, 0.0, sums.top)
    factor = (at_label + mass + zeta) * odds.unit
    return Rows(
        loss, weight, of_label, top, factor, special, mass, odds.lse, odds.above, odds.unit, odds.share, sums.hit
    )


def _charged(p: Tensor, gap: Tensor) -> Tensor:
    """Return p · gap; no truth is charged nothing, not even by an infinite gap."""
    return torch.where(p == 0.0, 0.0, p * gap)


def _against_label(sums: Sums) -> _Odds:
    assert sums.label_logit is not None
    s = sums.others
    d, rest = _difference(sums.top.double(), sums.label_logit)
    # Without any other class, the label is certain.
    alone = sums.top == -torch.inf
    behind = (d > 0.0) & ~alone
    up = torch.where(behind, 0.0, d).exp() * (1.0 + torch.where(behind, 0.0, rest))
    down = torch.where(behind, -d, 0.0).exp() * (1.0 - torch.where(behind, rest, 0.0))
    odds, total = up * s, s + down
    loss = torch.where(behind, d + (total.log() + rest), odds.log1p())
    return _Odds(
        loss,
        torch.where(behind, s / total, odds / (1.0 + odds)),
        torch.where(behind, down / total, 1.0 / (1.0 + odds)),
        torch.where(behind, 1.0 / total, up / (1.0 + odds)),
        torch.where(behind, total.log(), odds.log1p() - d - rest),
        torch.where(behind, sums.top.double() + total.log(), sums.label_logit + odds.log1p()),
    )


def _against_largest(sums: Sums) -> _Odds:
    s = torch.where(sums.top == -torch.inf, torch.nan, sums.others)
    share = 1.0 / (1.0 + s)
    return _Odds(s.log1p(), s * share, share, share, s.log1p(), sums.top.double() + s.log1p())
