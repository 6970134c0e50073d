"""The matrix products of a chunk, each in the dtype that keeps the gradient's digits at the least cost.

float32 and float64: as they are. bfloat16: the logits in float32 from widened tiles of the weights, since a product
that returns bfloat16 rounds them to 3 digits; the two products of the gradient in bfloat16, which multiplies exactly
and accumulates in float32, with each row's label entry, the one that is not small, added in float32. float16: all in
float32, from widened tiles. Sums over chunks are in float32 always.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Classes whose weights are widened at once: some MiB.
_TILE = 2048


def is_narrow(x: Tensor) -> bool:
    """Whether the storage has 16 bits, so that products widen."""
    return x.itemsize == 2


def _tiles(weight: Tensor) -> Iterator[slice]:
    return (slice(c, c + _TILE) for c in range(0, weight.shape[0], _TILE))


def logits_into(z: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, scale: float) -> None:
    """Write scale · (x weightᵀ + bias) to z."""
    if not is_narrow(x):
        _product(z, x, weight, bias, scale)
        return
    wide = x.to(z.dtype)
    for tile in _tiles(weight):
        _product(z[:, tile], wide, weight[tile].to(z.dtype), None if bias is None else bias[tile].to(z.dtype), scale)


def _product(z: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, scale: float) -> None:
    if bias is not None:
        torch.addmm(bias, x, weight.t(), beta=scale, alpha=scale, out=z)
    elif scale != 1.0:
        torch.addmm(z, x, weight.t(), beta=0.0, alpha=scale, out=z)
    else:
        torch.mm(x, weight.t(), out=z)


class GradientProducts:
    """What the chunks' gradients in the logits, g, add to those of x, the weights and the bias.

    Parameters
    ----------
    weight : Tensor (C, D)
    weight_bar : Tensor (C, D) or None
        To add gᵀx to, in the computing dtype; None where nobody asks.
    bias_bar : Tensor (C) or None
        To add the sums of g to.
    of_x : bool
        Whether g·weight is wanted.
    """

    def __init__(self, weight: Tensor, weight_bar: Tensor | None, bias_bar: Tensor | None, of_x: bool) -> None:
        self.weight, self.weight_bar, self.bias_bar, self.of_x = weight, weight_bar, bias_bar, of_x

    def add(self, g: Tensor, x: Tensor, label: Tensor | None) -> Tensor | None:
        """Add those of a chunk; return x's, in the computing dtype. ``label`` says where g has its largest entries.

        g is not the same afterwards.
        """
        if self.bias_bar is not None:
            self.bias_bar += g.sum(dim=0)
        if not is_narrow(x):
            if self.weight_bar is not None:
                self.weight_bar.addmm_(g.t(), x)
            return torch.mm(g, self.weight) if self.of_x else None
        return self._in_bfloat16(g, x, label) if x.dtype == torch.bfloat16 else self._widened(g, x)

    def _widened(self, g: Tensor, x: Tensor) -> Tensor | None:
        wide = x.to(g.dtype)
        out = g.new_zeros(x.shape) if self.of_x else None
        for tile in _tiles(self.weight):
            if self.weight_bar is not None:
                self.weight_bar[tile].addmm_(g[:, tile].t(), wide)
            if out is not None:
                out.addmm_(g[:, tile], self.weight[tile].to(g.dtype))
        return out

    def _in_bfloat16(self, g: Tensor, x: Tensor, label: Tensor | None) -> Tensor | None:
        large = None
        if label is not None:
            place = label.unsqueeze(1)
            large = g.gather(1, place)
            g.scatter_(1, place, 0.0)
        rounded = g.to(x.dtype)
        if self.weight_bar is not None:
            for tile in _tiles(self.weight):
                self.weight_bar[tile] += torch.mm(rounded[:, tile].t(), x)
            if large is not None and label is not None:
                self.weight_bar.index_add_(0, label, large * x)
        if not self.of_x:
            return None
        out = torch.mm(rounded, self.weight).to(g.dtype)
        if large is not None and label is not None:
            out.addcmul_(large, self.weight.index_select(0, label).to(g.dtype))
        return out
