"""A head in bfloat16: its matrix products are PyTorch's in bfloat16, everything between them is float32.

The products multiply exactly, accumulate in float32 and round once, as those of the unfused head. A row's own classes,
at which a trained head's logit is largest and its gradient too, are kept apart: their products are made in float32, and
their gradients multiplied in float32. The sums over tiles and chunks are in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossent import arrays
from crossent.arrays import Array
from crossent.head.chunks import HeadInputs, HeadOutputs
from crossent.head.memory import bytes_of
from crossent.torch.linear.call import HeadCall

# Classes of one product, and the rows of a chunk that are widened at once beside it.
_TILE, _ROWS = 1024, 256
# Products of yet fewer rows are too slow, whatever the budget.
_LEAST_ROWS = 64
# What the kernels hold of each row, and widened rows of each thread.
_STATISTICS, _WIDENED = 128, 16 * _TILE * 4


def run_chunks(call: HeadCall, given: HeadInputs, out: HeadOutputs) -> None:
    """Fill ``out`` with the losses and the gradients that it has room for."""
    chunks = _Chunks(call, given, out)
    for first in range(0, given.truth.count, chunks.rows):
        chunks.run(slice(first, min(first + chunks.rows, given.truth.count)))


class _Chunks:
    def __init__(self, call: HeadCall, given: HeadInputs, out: HeadOutputs) -> None:
        self.given, self.out = given, out
        self.x, self.weight = call.x.detach(), call.linear_weight.detach()
        self.weight_grad = None if out.weight_grad is None else torch.from_numpy(out.weight_grad)
        self.wants_gradient = any(grad is not None for grad in (out.x_grad, out.weight_grad, out.bias_grad))
        (classes, d), n = self.weight.shape, given.truth.count
        self.tiles = [slice(c, min(c + _TILE, classes)) for c in range(0, classes, _TILE)]
        kept = classes if self.wants_gradient else min(classes, _TILE)
        budget = bytes_of("max_memory", call.max_memory) - given.n_threads * _WIDENED
        rows = call.chunk_rows or max(_LEAST_ROWS, budget // (2 * (kept + d) + _STATISTICS))
        # As many in each chunk.
        self.rows = math.ceil(n / math.ceil(n / rows)) if n else 1
        self.kept = _empty(self.rows * kept)
        self.room = _empty(max(self.rows, _TILE) * d)

    def run(self, part: slice) -> None:
        """Work on some of the rows that take part."""
        given, out, count = self.given, self.out, part.stop - part.start
        rows = _index(given.truth.rows_of_x(part))
        x = self.x[rows].contiguous()
        chunk = given.truth.chunk(
            part,
            given.dtype,
            groups=1,
            z_loss=given.z_loss,
            scale=given.scale,
            softcap=given.softcap,
            n_threads=given.n_threads,
        )
        own = _Own(given.truth.entry_class, part, x, self.weight)
        options: dict[str, Any] = {"scale": given.logit_scale, "bias": given.bias, "entry_product": own.products}
        for tile in self.tiles:
            product = self._product(tile, count)
            torch.mm(x, self.weight[tile].t(), out=product)
            chunk.survey_narrow(_bits(product), tile.start, 0, **options)
        chunk.conclude()
        chunk.results(out.losses[part], out.lse[part], out.leader[part])
        if not self.wants_gradient:
            return
        x_bar = None if out.x_grad is None else torch.zeros(x.shape)
        for tile in self.tiles:
            grad = self._product(tile, count)
            chunk.gradient_narrow(_bits(grad), tile.start, entry_grad_out=own.gradients, **options)
            self._multiply(tile, grad, x, x_bar, fresh=part.start == 0 and not out.adds)
        own.add(given.logit_scale, x_bar, self.weight_grad, out.bias_grad)
        if out.x_grad is not None and x_bar is not None:
            torch.from_numpy(out.x_grad)[rows] = x_bar

    def _product(self, tile: slice, count: int) -> Tensor:
        first = tile.start * count if self.wants_gradient else 0
        width = tile.stop - tile.start
        return self.kept[first : first + count * width].view(count, width)

    def _multiply(self, tile: slice, grad: Tensor, x: Tensor, x_bar: Tensor | None, fresh: bool) -> None:
        scale, d = self.given.logit_scale, x.shape[1]
        if self.out.bias_grad is not None:
            self.out.bias_grad[tile] += grad.sum(dim=0, dtype=torch.float32).numpy()
        if self.weight_grad is not None:
            width = tile.stop - tile.start
            product = torch.mm(grad.t(), x, out=self.room[: width * d].view(width, d))
            if fresh and scale == 1.0:
                self.weight_grad[tile].copy_(product)
            elif fresh:
                torch.mul(product, scale, out=self.weight_grad[tile])
            else:
                self.weight_grad[tile].add_(product, alpha=scale)
        if x_bar is not None:
            count = len(x)
            product = torch.mm(grad, self.weight[tile], out=self.room[: count * d].view(count, d))
            x_bar.add_(product, alpha=scale)


class _Own:
    """The classes that the rows of a chunk name: labels, or those of sparse distributions."""

    def __init__(self, entry_class: Array | None, part: slice, x: Tensor, weight: Tensor) -> None:
        count = len(x)
        own = np.zeros((count, 0), np.int64) if entry_class is None else entry_class[part]
        self.classes, self.x, self.weight = torch.from_numpy(own), x, weight
        made = torch.empty(own.shape)
        for rows, j in self._pieces():
            weights = weight.index_select(0, self.classes[rows, j]).float()
            made[rows, j] = weights.mul_(x[rows]).sum(dim=1)
        self.products = None if entry_class is None else made.numpy().reshape(-1)
        self.gradients = np.empty(made.numel(), np.float32)

    def _pieces(self) -> Iterator[tuple[slice, int]]:
        for first in range(0, len(self.x), _ROWS):
            for j in range(self.classes.shape[1]):
                yield slice(first, min(first + _ROWS, len(self.x))), j

    def add(self, scale: float, x_bar: Tensor | None, weight_grad: Tensor | None, bias_grad: Array | None) -> None:
        """Add what their gradients give."""
        gradients = torch.from_numpy(self.gradients).view(self.classes.shape)
        for rows, j in self._pieces():
            classes, by = self.classes[rows, j], gradients[rows, j].unsqueeze(1) * scale
            if x_bar is not None:
                x_bar[rows].addcmul_(self.weight.index_select(0, classes).float(), by)
            if weight_grad is not None:
                weight_grad.index_add_(0, classes, self.x[rows] * by)
        if bias_grad is not None:
            np.add.at(bias_grad, self.classes.numpy().reshape(-1), self.gradients)


def _index(rows: slice | Array) -> slice | Tensor:
    return rows if isinstance(rows, slice) else torch.from_numpy(rows)


def _empty(size: int) -> Tensor:
    return torch.from_numpy(arrays.empty((size,), np.dtype(np.uint16))).view(torch.bfloat16)


def _bits(tensor: Tensor) -> Array:
    return tensor.view(torch.uint16).numpy()
