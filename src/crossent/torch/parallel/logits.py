"""The logits of this rank's classes, a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.memory import Tiles, tiles_of


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

    def tile(self, rows: slice, classes: slice) -> Tensor:
        """Return a tile; of kept logits a view."""
        kept = None if self._kept is None else self._kept[rows, classes]
        if kept is not None and self._filled:
            return kept
        z = torch.mm(self.x[rows], self.weights(classes).T, out=kept)
        if self.bias is not None:
            z += self.bias.detach()[classes]
        if self.scale != 1.0:
            z *= self.scale
        return z if self.cap is None else z.div_(self.cap).tanh_().mul_(self.cap)

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

    def slope(self, z: Tensor) -> Tensor | None:
        """Return the derivative of the cap at these logits."""
        return None if self.cap is None else 1.0 - (z / self.cap) ** 2


def tiles(arguments: Arguments, rows: int) -> Tiles:
    """Return the tiles in which the logits of this many rows are worked on."""
    itemsize = arguments.dtype.itemsize
    buffers = 2 + (arguments.options.softcap is not None) + (arguments.probs is not None) * 2
    classes = arguments.weight.shape[0]
    on_cpu = arguments.x.device.type == "cpu"
    return tiles_of(rows, classes, buffers * itemsize, itemsize, arguments.budget, on_cpu)
