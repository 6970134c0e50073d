"""The head as a loop over chunks of rows and tiles of classes; its matrix products are the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from crossent.arrays import Array
from crossent.cpu import thread_count
from crossent.head.plan import HeadPlan
from crossent.head.truth import HeadTruth, Rows, row_numbers


class Products(Protocol):
    """The three matrix products of a head, by whichever library holds its x and weight.

    ``rows`` names rows of x, by a slice or by their numbers; ``classes`` rows of the weight. Tiles are C-contiguous
    NumPy arrays (rows, classes) of float32 or float64, to be read or filled before the call returns. The logit scale
    belongs to the products.
    """

    def logits(self, rows: Rows, classes: slice, out: Array) -> None:
        """out = scale · x[rows] · weight[classes]ᵀ"""

    def add_x_grad(self, rows: Rows, classes: slice, grad: Array) -> None:
        """x_grad[rows] += scale · grad · weight[classes]"""

    def add_weight_grad(self, rows: Rows, classes: slice, grad: Array) -> None:
        """weight_grad[classes] += scale · gradᵀ · x[rows]"""


@dataclass(frozen=True, slots=True)
class HeadPass:
    """What a pass over all rows found; the gradients of x and weight are with its products.

    Attributes
    ----------
    losses : float64 array (n,)
        Of the rows that take part, weighted, in nats; not divided.
    lse : float64 array (n,)
    leader : int32 array (n,)
        The class with the largest logit, the first of several.
    bias_grad : float64 array (C,) or None
    target_grad : array or None
        Derivative by the distributions (n, C), or by the probabilities of the entries (n, k), in float64.
    """

    losses: Array
    lse: Array
    leader: Array
    bias_grad: Array | None
    target_grad: Array | None


def run_head(
    products: Products,
    truth: HeadTruth,
    plan: HeadPlan,
    *,
    dtype: Any = np.float32,
    bias: Array | None = None,
    softcap: float | None = None,
    z_loss: float = 0.0,
    scale: float = 1.0,
    needs_bias: bool = False,
    needs_target: bool = False,
    threshold: float = 0.0,
    seed: int = 0,
    n_threads: int | None = None,
) -> HeadPass:
    """Return losses and statistics of all rows; hand the gradient, a tile at a time, to the products.

    Parameters
    ----------
    products : Products
    truth : HeadTruth
        Of ``plan.n`` rows that take part.
    plan : HeadPlan
    dtype : float32 or float64
        In which logits are computed.
    bias : array (C,) of that dtype, optional
    softcap : float, optional
        Logits become ``softcap · tanh(logits / softcap)``.
    scale : float
        Multiplies every gradient: 1 / the denominator of a mean.
    needs_bias, needs_target : bool
        Whether to make these gradients as well; ``plan.needs`` says which of the others.
    threshold, seed : float, int
        Of the unbiased gradient, whose tiles are handed over with few entries that are not 0; a threshold of 0 is the
        exact gradient.
    """
    dtype = np.dtype(dtype)
    n, threads = plan.n, thread_count(n_threads)
    found = HeadPass(
        np.empty(n),
        np.empty(n),
        np.empty(n, np.int32),
        np.zeros(plan.c) if needs_bias else None,
        _empty_target_grad(truth, n, dtype) if needs_target else None,
    )
    wanted = bool(plan.needs) or needs_bias or needs_target
    buffer = np.empty((plan.c if plan.keeps_logits else plan.class_tile) * plan.chunk, dtype)
    for number in range(plan.chunks):
        part = plan.rows(number)
        rows = truth.rows_of_x(part)
        chunk = truth.chunk(
            part, dtype, groups=plan.groups, z_loss=z_loss, scale=scale, softcap=softcap, n_threads=threads
        )
        tiles = _Tiles(products, chunk, rows, plan, buffer, bias, part.stop - part.start)
        for tile in range(plan.tiles):
            chunk.survey(tiles.logits(tile), plan.classes(tile).start, plan.group_of(tile))
        chunk.conclude()
        chunk.results(found.losses[part], found.lse[part], found.leader[part])
        if wanted:
            _gradients(tiles, found, part, truth, threshold, seed)
    return found


def _gradients(tiles: _Tiles, found: HeadPass, part: slice, truth: HeadTruth, threshold: float, seed: int) -> None:
    plan, chunk, products = tiles.plan, tiles.chunk, tiles.products
    for tile in range(plan.tiles):
        classes = plan.classes(tile)
        z = tiles.view(tile) if plan.keeps_logits else tiles.logits(tile)
        if found.target_grad is not None and truth.probs is not None:
            chunk.target_gradient(z, classes.start, found.target_grad[part, classes])
        chunk.gradient(z, classes.start, None if found.bias_grad is None else found.bias_grad[classes])
        if threshold:
            chunk.thin(z, classes.start, threshold, seed, row_numbers(tiles.rows))
        if "x" in plan.needs:
            products.add_x_grad(tiles.rows, classes, z)
        if "weight" in plan.needs:
            products.add_weight_grad(tiles.rows, classes, z)
    if found.target_grad is not None and truth.probs is None:
        chunk.entry_target_gradient(found.target_grad[part].reshape(-1))


@dataclass(frozen=True, slots=True)
class _Tiles:
    """The logits of a chunk, a tile of classes at a time."""

    products: Products
    chunk: Any
    rows: Rows
    plan: HeadPlan
    buffer: Array
    bias: Array | None
    count: int

    def view(self, tile: int) -> Array:
        """Return where a tile's logits are."""
        classes = self.plan.classes(tile)
        first = classes.start * self.count if self.plan.keeps_logits else 0
        width = classes.stop - classes.start
        return self.buffer[first : first + self.count * width].reshape(self.count, width)

    def logits(self, tile: int) -> Array:
        """Return a tile's logits, made now."""
        z, classes = self.view(tile), self.plan.classes(tile)
        self.products.logits(self.rows, classes, z)
        if self.bias is not None:
            self.chunk.add_bias(z, classes.start, self.bias)
        return z


def _empty_target_grad(truth: HeadTruth, n: int, dtype: np.dtype[Any]) -> Array:
    if truth.probs is not None:
        return np.empty((n, truth.classes), dtype)
    assert truth.entry_class is not None
    return np.empty(truth.entry_class.shape)
