"""What a step costs a rank, before a machine is rented: bytes held, bytes sent, operations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossent.errors import invalid_value
from crossent.torch.parallel.sums import TAIL


@dataclass(frozen=True, slots=True)
class StepCost:
    """One step of SGD with momentum, for the rank with the most classes.

    Attributes
    ----------
    weight, gradient, momentum : int
        Bytes held of each: (c, D) of the rank's own classes.
    rows : int
        Bytes held of x and of its gradient.
    logits : int
        Bytes that the rank's logits would take, which are never whole in memory.
    gather, top, sums, x_grad, weight_grad : int
        Payloads, in bytes: the all-gather of x, the three all-reduces of the loss, the all-reduce of the weight's
        gradient over the ranks that hold the same classes. 0 for what is not needed.
    sent : float
        Bytes that the rank sends, by rings: 2 (R - 1) / R times the payload of an all-reduce over R ranks, half of it
        for an all-gather.
    hops : int
        Messages that wait for each other, by rings.
    flops : float
        Of the matrix products.
    """

    weight: int
    gradient: int
    momentum: int
    rows: int
    logits: int
    gather: int
    top: int
    sums: int
    x_grad: int
    weight_grad: int
    sent: float
    hops: int
    flops: float

    @property
    def held(self) -> int:
        """Bytes held, but for the budget of the logits."""
        return self.weight + self.gradient + self.momentum + self.rows

    def seconds(self, flops_per_second: float, bytes_per_second: float, latency: float = 0.0) -> tuple[float, float]:
        """Return the seconds of the products, and of sending; ``latency`` is of one message."""
        return self.flops / flops_per_second, self.sent / bytes_per_second + self.hops * latency


def step_cost(
    num_classes: int,
    features: int,
    rows: int,
    *,
    class_ranks: int,
    row_ranks: int = 1,
    gathered: bool = False,
    columns: int = 2,
    itemsize: int = 4,
    keeps_logits: bool = False,
) -> StepCost:
    """Return what a step of :func:`class_parallel_cross_entropy` and SGD with momentum costs a rank.

    Parameters
    ----------
    num_classes, features : int
        C and D.
    rows : int
        N, of x as one rank is given it.
    class_ranks, row_ranks : int
        Ranks that the classes, and the rows, are spread over: their product is the number of ranks.
    gathered : bool
        Whether x is gathered first, as each of the ``class_ranks`` has made ``rows / class_ranks`` rows of it.
    columns : int
        Of the SUM: 2 for labels, 4 for distributions and smoothed labels, one more for labels' class weights, and one
        for the accuracy.
    itemsize : int
        Bytes of a number of x, of the weight and of what is computed: 4 for float32.
    keeps_logits : bool
        Whether the rank's logits fit ``max_memory``: three products, or else four.

    Returns
    -------
    StepCost

    Raises
    ------
    ValueError

    Examples
    --------
    >>> from crossent.torch.parallel import step_cost
    >>> cost = step_cost(10**8, 512, 8192, class_ranks=64)
    >>> f"{cost.held / 1e9:.1f} GB held, {cost.sent / 1e6:.0f} MB sent, {cost.flops / 1e12:.0f} TFLOP"
    '9.6 GB held, 33 MB sent, 52 TFLOP'
    """
    for name, value in (("num_classes", num_classes), ("features", features), ("class_ranks", class_ranks)):
        if value < 1:
            raise invalid_value(name, value, "an integer of at least 1")
    if row_ranks < 1:
        raise invalid_value("row_ranks", row_ranks, "an integer of at least 1")
    if rows < 0:
        raise invalid_value("rows", rows, "an integer of at least 0")
    classes = math.ceil(num_classes / class_ranks)
    weight = classes * features * itemsize
    x = rows * features * itemsize
    top, sums, x_grad = (rows + 1) * itemsize, (columns * rows + TAIL) * 8, x + itemsize
    gather, weight_grad = x if gathered else 0, weight if row_ranks > 1 else 0
    over_classes, over_rows = (class_ranks - 1) / class_ranks, (row_ranks - 1) / row_ranks
    # The loss, its denominator, the rows and those that are hit, and the flag that a rank refuses: over the row group.
    mean = 40 if row_ranks > 1 else 0
    return StepCost(
        weight=weight,
        gradient=weight,
        momentum=weight,
        rows=2 * x,
        logits=rows * classes * itemsize,
        gather=gather,
        top=top,
        sums=sums,
        x_grad=x_grad,
        weight_grad=weight_grad,
        sent=over_classes * (gather + 2 * (top + sums + x_grad)) + over_rows * 2 * (mean + weight_grad),
        hops=(class_ranks - 1) * (6 + gathered) + (row_ranks - 1) * 4,
        flops=2.0 * rows * features * classes * (3 if keeps_logits else 4),
    )
