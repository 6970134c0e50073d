"""The unbiased gradient of a tile: its small entries rounded at random, and the products of the few that are left."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent import _native
from crossent.torch.parallel.truth import Truth


class Thinning(NamedTuple):
    """How the entries of a call are rounded: by the row, the class among all and the seed, whatever the tiles.

    Attributes
    ----------
    threshold : float64 Tensor (k)
        Of the rows that take part.
    row_number : int64 Tensor (k)
        Of all rows.
    first : int
        The rank's first class.
    seed : int
    """

    threshold: Tensor
    row_number: Tensor
    first: int
    seed: int

    def add_products(
        self,
        grad: Tensor,
        rows: slice,
        classes: slice,
        x: Tensor,
        weights: Tensor,
        x_grad: Tensor | None,
        weight_grad: Tensor | None,
    ) -> None:
        """Add the products of a tile's rounded gradient; ``grad`` keeps its large entries only."""
        _native.add_thin_products(
            grad.numpy(),
            self.first + classes.start,
            self.threshold[rows].numpy(),
            self.seed,
            self.row_number[rows].numpy(),
            x.numpy(),
            weights.numpy(),
            None if x_grad is None else x_grad.numpy(),
            None if weight_grad is None else weight_grad.numpy(),
            torch.get_num_threads(),
        )


def thinning_of(truth: Truth, size: Tensor) -> Thinning | None:
    """Return how a call's entries are rounded, of rows of these sizes; None for the exact gradient."""
    arguments = truth.arguments
    if arguments.options.gradient == "exact":
        return None
    number = torch.arange(arguments.first_row, arguments.first_row + arguments.rows)
    scale = arguments.options.threshold * abs(arguments.options.logit_scale)
    return Thinning(size * scale, truth.kept(number), truth.layout.start, arguments.seed)
