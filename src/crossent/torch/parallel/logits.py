"""The logits of this rank's classes, a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.tiles import Tiles, tiles_of


class Logits:
    """z = cap(logit_scale (x · w + b)), with cap(a) = softcap · tanh(a / softcap), of the rows that take part.

    Parameters
    ----------
    arguments : Arguments
    x : Tensor (k, d)
        The rows that take part, in the computing dtype.
    may_keep : bool
        Whether there will be a backward that profits from logits that were kept.
    """

    def __init__(self, arguments: Arguments, x: Tensor, may_keep: bool) -> None:
        self.x, self.weight, self.bias = x, arguments.weight.detach(), arguments.bias
        self.scale, self.cap = arguments.options.logit_scale, arguments.options.softcap
        self.tiles = tiles(arguments, len(x))
        self._kept: Tensor | None = None
        if may_keep and self.tiles.kept:
            self._kept = x.new_empty(len(x), len(self.weight))
        self._filled = False

    def class_blocks(self) -> Iterator[slice]:
        """The classes of the tiles. Outermost: a block's weights are read once."""
        for start in range(0, len(self.weight), self.tiles.classes):
            yield slice(start, start + self.tiles.classes)

    def row_blocks(self) -> Iterator[slice]:
        """The rows of the tiles."""
        for start in range(0, len(self.x), self.tiles.rows):
            yield slice(start, start + self.tiles.rows)

    def weights(self, classes: slice) -> Tensor:
        """Return the rows of the weight for some classes, in the computing dtype."""
        return self.weight[classes].to(self.x.dtype)

    def uncapped(self, rows: slice, classes: slice) -> Tensor:
        """Return logit_scale (x · w + b) of a tile; of kept ones a view."""
        kept = None if self._kept is None else self._kept[rows, classes]
        if kept is not None and self._filled:
            return kept
        z = torch.mm(self.x[rows], self.weights(classes).T, out=kept)
        if self.bias is not None:
            z += self.bias.detach()[classes]
        return z if self.scale == 1.0 else z.mul_(self.scale)

    def capped(self, z: Tensor) -> Tensor:
        """Return the logits: where there is no cap, ``z`` itself."""
        return z if self.cap is None else z.div(self.cap).tanh_().mul_(self.cap)

    def slope(self, z: Tensor) -> Tensor | None:
        """Return the derivative of the cap, 4 e / (1 + e)² with e = exp(-2 |z| / cap); 1 - tanh² cancels."""
        if self.cap is None:
            return None
        e = z.abs().mul_(-2.0 / self.cap).exp_()
        return e.mul(4.0).div_(e.add_(1.0).square_())

    @property
    def keeps(self) -> bool:
        return self._kept is not None

    def filled(self) -> None:
        """Say that every tile has been made."""
        self._filled = True

    def take(self) -> Logits:
        """Return these logits for a backward that overwrites them; the next backward makes them again."""
        taken = object.__new__(Logits)
        taken.__dict__.update(self.__dict__)
        self._kept = None
        return taken

    def chain_(self, grad: Tensor, slope: Tensor | None) -> Tensor:
        """Turn the gradient of a tile's logits into that of x · w + b."""
        if slope is not None:
            grad *= slope
        return grad if self.scale == 1.0 else grad.mul_(self.scale)


def tiles(arguments: Arguments, rows: int) -> Tiles:
    """Return the tiles in which the logits of this many rows are worked on."""
    itemsize = arguments.dtype.itemsize
    buffers = (
        2 + (arguments.options.softcap is not None) * 2 + arguments.is_spread * (2 + arguments.class_weight_grad * 2)
    )
    classes = arguments.weight.shape[0]
    on_cpu = arguments.x.device.type == "cpu"
    return tiles_of(rows, classes, buffers * itemsize, itemsize, arguments.budget, on_cpu)
