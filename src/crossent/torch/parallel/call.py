"""One call of the loss on one rank: what is computed here, what is exchanged, and what is kept for backward."""

from __future__ import annotations

import torch
from torch import Tensor

from crossent.torch.parallel import sums as wire
from crossent.torch.parallel.agreement import largest_over_ranks
from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.gradient import Gradients, fill
from crossent.torch.parallel.layout import Layout
from crossent.torch.parallel.logits import Logits
from crossent.torch.parallel.mean import over_row_groups
from crossent.torch.parallel.ranks import Ranks
from crossent.torch.parallel.refusal import Refusal, refusal
from crossent.torch.parallel.rows import Rows, rows_of
from crossent.torch.parallel.statistics import Statistics
from crossent.torch.parallel.truth import Truth

_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class _Local:
    """What this rank computes by itself. Whatever goes wrong is kept, to be raised by all ranks together."""

    truth: Truth
    logits: Logits
    statistics: Statistics

    def __init__(self, arguments: Arguments | None) -> None:
        self.arguments = arguments
        self.error: Exception | None = None

    def write_top(self, layout: Layout, payload: Tensor) -> None:
        assert self.arguments is not None
        try:
            self._compute(self.arguments, layout)
            payload.copy_(self.truth.spread(self.statistics.top, -torch.inf))
        except Exception as error:
            self.error = error

    def _compute(self, arguments: Arguments, layout: Layout) -> None:
        self.truth = Truth(arguments, layout)
        x = self.truth.kept(arguments.x.detach()).to(arguments.dtype)
        self.logits = Logits(arguments, x, may_keep=arguments.needs_grad)
        self.statistics = Statistics(self.logits, self.truth)
        if not self.statistics.is_finite:
            raise _not_finite(arguments, self.truth)

    def write_sums(self, payload: Tensor, top: Tensor) -> None:
        try:
            if self.error is None:
                assert self.arguments is not None
                wire.write(payload, self.arguments, self.truth, self.statistics, top)
        except Exception as error:
            self.error = error
        if self.error is not None:
            wire.refuse(payload)


class Call:
    """A loss that has been computed, and what its backward needs."""

    def __init__(self, ranks: Ranks, local: _Local, rows: Rows, largest: Tensor, row_factor: Tensor) -> None:
        assert local.arguments is not None
        self.ranks, self.arguments = ranks, local.arguments
        self.truth, self.logits = local.truth, local.logits
        self.rows, self.largest = rows, largest
        # What multiplies the cotangent of the loss to give that of each row's.
        self.row_factor = row_factor

    @staticmethod
    def run(
        ranks: Ranks, row_ranks: Ranks | None, arguments: Arguments | None, error: Exception | None
    ) -> tuple[Call, Tensor]:
        """Return the call and its loss.

        Raises
        ------
        Refusal
            On every rank of the group, and of the row group.
        """
        refused: Refusal | None = None
        try:
            local, rows, largest = _over_class_group(ranks, arguments, error)
            numbers = [float((rows.loss * _share(local, rows)).sum()), float(rows.weight.sum())]
        except Refusal as problem:
            if row_ranks is None:
                raise
            refused, numbers = problem, [0.0, 0.0]
        size = 1
        if row_ranks is not None:
            numbers, size = over_row_groups(row_ranks, numbers, refused), row_ranks.size
        arguments = local.arguments
        assert arguments is not None
        each = _share(local, rows)
        reduction = arguments.options.reduction
        if reduction == "none":
            loss = local.truth.spread(rows.loss * each).reshape(arguments.row_shape)
            return Call(ranks, local, rows, largest, each), loss.to(arguments.dtype)
        total, denominator = numbers[0], 1.0
        if reduction == "mean":
            denominator = numbers[1] if arguments.normalizer is None else arguments.normalizer
        each = each * (size / denominator) if denominator else torch.zeros_like(each)
        loss = torch.tensor(total / denominator if denominator else 0.0, dtype=arguments.dtype, device=each.device)
        return Call(ranks, local, rows, largest, each), loss

    def gradients(self, loss_bar: Tensor, weight: bool, bias: bool) -> _Gradients:
        """Return the gradients of x, of this rank's weight and of its bias.

        Raises
        ------
        Refusal
            On every rank, if one runs out of memory, for example.
        """
        arguments = self.arguments
        if not arguments.x_grad:
            return None, *self._fill(None, loss_bar, weight, bias)
        n, d = arguments.rows, arguments.x.shape[1]
        payload = arguments.x.new_zeros(n * d + 1, dtype=arguments.dtype)
        error: Exception | None = None
        own: tuple[Tensor | None, Tensor | None] = (None, None)
        try:
            own = self._fill(payload[:-1].view(n, d), loss_bar, weight, bias)
        except Exception as problem:
            error = problem
            payload.zero_()[-1] = 1.0
        self.ranks.sum_(payload)
        if payload[-1]:
            raise refusal(self.ranks, error)
        return payload[:-1].view(*arguments.row_shape, d).to(arguments.x.dtype), *own

    def _fill(
        self, x: Tensor | None, loss_bar: Tensor, weight: bool, bias: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        arguments, truth, logits = self.arguments, self.truth, self.logits.take()
        of_rows = x if x is None or truth.rows is None else torch.zeros_like(logits.x)
        of_weight = torch.zeros_like(arguments.weight) if weight else None
        of_bias = arguments.x.new_zeros(len(arguments.weight), dtype=arguments.dtype) if bias else None
        bars = loss_bar.double()
        bars = bars if bars.ndim == 0 and arguments.row_shape else truth.kept(bars.reshape(-1))
        fill(Gradients(of_rows, of_weight, of_bias), logits, truth, self.rows, self.largest, bars * self.row_factor)
        if x is not None and of_rows is not None and truth.rows is not None:
            x.index_copy_(0, truth.rows, of_rows)
        if of_bias is not None and arguments.bias is not None:
            of_bias = of_bias.to(arguments.bias.dtype)
        return of_weight, of_bias


def _over_class_group(
    ranks: Ranks, arguments: Arguments | None, error: Exception | None
) -> tuple[_Local, Rows, Tensor]:
    local = _Local(arguments)
    _, top = largest_over_ranks(ranks, arguments, error, local.write_top)
    assert arguments is not None
    payload = wire.blank(arguments)
    local.write_sums(payload, top)
    ranks.sum_(payload)
    if wire.refusals(payload):
        raise refusal(ranks, local.error)
    differing = wire.difference(payload, ranks.size) if arguments.check_same else None
    if differing is not None:
        raise Refusal(ValueError(f"{differing} differs between the ranks of the group: expected the same on all"))
    sums = wire.read(payload, arguments, local.truth, top)
    largest = torch.where(local.statistics.top == sums.top, local.statistics.place, -1)
    return local, rows_of(arguments, local.truth, sums), largest


def _share(local: _Local, rows: Rows) -> Tensor:
    """Return what each row's loss is multiplied by: its sample weight."""
    arguments = local.arguments
    assert arguments is not None
    if arguments.sample_weight is None:
        return torch.ones_like(rows.loss)
    return local.truth.kept(arguments.sample_weight).double()


def _not_finite(arguments: Arguments, truth: Truth) -> Exception:
    """Return the error that names the first number that is not finite."""
    start = truth.layout.start
    x = truth.kept(arguments.x)
    for name, values in (("x", x), ("weight_shard", arguments.weight), ("bias_shard", arguments.bias)):
        if values is None:
            continue
        bad = ~values.isfinite() if name == "x" else values.isnan() | (values == torch.inf)
        if bad.any():
            place = [int(i) for i in bad.nonzero()[0]]
            value = values[tuple(place)].item()
            if name == "x" and truth.rows is not None:
                place[0] = int(truth.rows[place[0]])
            return ValueError(f"{name}[{', '.join(map(str, place))}] = {value}: expected a finite number")
    return ValueError(f"logits of classes {start} to {start + len(arguments.weight) - 1} overflow {arguments.dtype}")
