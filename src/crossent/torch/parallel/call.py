"""One call of the loss on one rank: what is computed here, what is exchanged, and what is kept for backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossent.torch.parallel import sums as wire
from crossent.torch.parallel.agreement import largest_over_ranks
from crossent.torch.parallel.arguments import Arguments
from crossent.torch.parallel.gradient import Bars, Gradients, fill
from crossent.torch.parallel.layout import Layout
from crossent.torch.parallel.logits import Logits
from crossent.torch.parallel.mean import over_row_groups
from crossent.torch.parallel.ranks import Ranks
from crossent.torch.parallel.refusal import Refusal, refusal
from crossent.torch.parallel.rows import Rows, rows_of
from crossent.torch.parallel.statistics import Statistics
from crossent.torch.parallel.truth import Truth

_Gradients = tuple[Tensor | None, ...]


class Needs(NamedTuple):
    """Which gradients this rank needs of what takes no collective operation."""

    weight: bool
    bias: bool
    sample_weight: bool


class Result(NamedTuple):
    """What a call returns, as far as it was asked for."""

    loss: Tensor
    lse: Tensor | None
    accuracy: Tensor | None


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
            top, most = _parts(self.arguments, payload)
            top.copy_(self.truth.spread(self.statistics.top, -torch.inf))
            if most is not None:
                most.copy_(self.truth.spread(self.truth.most(), -torch.inf))
        except Exception as error:
            self.error = error

    def _compute(self, arguments: Arguments, layout: Layout) -> None:
        self.truth = Truth(arguments, layout)
        x = self.truth.kept(arguments.x.detach()).to(arguments.dtype)
        self.logits = Logits(arguments, x, may_keep=arguments.needs_grad)
        self.statistics = Statistics(self.logits, self.truth)
        if not self.statistics.is_finite:
            raise _not_finite(arguments, self.truth)

    def write_sums(self, payload: Tensor, top: Tensor, most: Tensor | None) -> None:
        try:
            if self.error is None:
                assert self.arguments is not None
                wire.write(payload, self.arguments, self.truth, self.statistics, top, most)
        except Exception as error:
            self.error = error
        if self.error is not None:
            wire.refuse(payload)


class Call:
    """A loss that has been computed, and what its backward needs."""

    def __init__(self, ranks: Ranks, local: _Local, rows: Rows, largest: Tensor, factor: float, mean: float) -> None:
        assert local.arguments is not None
        self.ranks, self.arguments = ranks, local.arguments
        self.truth, self.logits = local.truth, local.logits
        self.rows, self.largest = rows, largest
        # What multiplies the cotangent of the loss to give that of each row's, its sample weight not counted.
        self.factor = factor
        # The loss, where the rows' weights are its denominator.
        self.mean = mean

    @staticmethod
    def run(
        ranks: Ranks, row_ranks: Ranks | None, arguments: Arguments | None, error: Exception | None
    ) -> tuple[Call, Result]:
        """Return the call and its result.

        Raises
        ------
        Refusal
            On every rank of the group, and of the row group.
        """
        refused: Refusal | None = None
        try:
            local, rows, largest = _over_class_group(ranks, arguments, error)
            hits = 0.0 if rows.hit is None else float(rows.hit.sum())
            share = _share(local.truth, rows)
            numbers = [float((rows.loss * share).sum()), float((rows.weight * share).sum()), hits, len(rows.loss)]
        except Refusal as problem:
            if row_ranks is None:
                raise
            refused, numbers = problem, [0.0] * 4
        size = 1
        if row_ranks is not None:
            numbers, size = over_row_groups(row_ranks, numbers, refused), row_ranks.size
        arguments = local.arguments
        assert arguments is not None
        reduction = arguments.options.reduction
        if reduction == "none":
            loss = local.truth.spread(rows.loss * share).reshape(arguments.row_shape)
            return Call(ranks, local, rows, largest, 1.0, 0.0), _result(local, rows, loss.to(arguments.dtype), numbers)
        denominator, own = 1.0, reduction == "mean" and arguments.normalizer is None
        if reduction == "mean":
            denominator = numbers[1] if arguments.normalizer is None else arguments.normalizer
        value = numbers[0] / denominator if denominator else 0.0
        loss = torch.tensor(value, dtype=arguments.dtype, device=share.device)
        call = Call(ranks, local, rows, largest, size / denominator if denominator else 0.0, value if own else 0.0)
        return call, _result(local, rows, loss, numbers)

    def gradients(self, loss_bar: Tensor | None, lse_bar: Tensor | None, needs: Needs) -> _Gradients:
        """Return the gradients of x, of this rank's weight and bias, of the target, and of class and sample weights.

        Raises
        ------
        Refusal
            On every rank, if one runs out of memory, for example.
        """
        arguments = self.arguments
        n, d = arguments.rows, arguments.x.shape[1]
        layout, class_weight = self.truth.layout, arguments.class_weight
        of_x, of_few = n * d if arguments.x_grad else 0, arguments.summed_target
        of_classes = layout.total if arguments.class_weight_grad and layout.shares_weights else 0
        bars = self._bars(loss_bar, lse_bar)
        if not arguments.x_grad and not of_few and not of_classes:
            return (None, *self._fill(None, None, bars, needs))
        payload = arguments.x.new_zeros(of_x + of_few + of_classes + 1, dtype=arguments.dtype)
        x = payload[:of_x].view(n, d) if arguments.x_grad else None
        few = payload[of_x : of_x + of_few].view(n, of_few // n) if of_few else None
        classes = payload[of_x + of_few : -1]
        error: Exception | None = None
        own: _Gradients = (None,) * 5
        try:
            own = self._fill(x, few, bars, needs)
            if of_classes and own[3] is not None:
                classes[layout.own] = own[3]
        except Exception as problem:
            error = problem
            payload.zero_()[-1] = 1.0
        self.ranks.sum_(payload)
        if payload[-1]:
            raise refusal(self.ranks, error)
        whole = None if x is None else x.view(*arguments.row_shape, d).to(arguments.x.dtype)
        of_weight, of_bias, of_target, of_class_weight, of_sample_weight = own
        if few is not None:
            of_target = few.to(arguments.probs_dtype)
        if of_classes and class_weight is not None:
            of_class_weight = classes.to(class_weight.dtype)
        return whole, of_weight, of_bias, of_target, of_class_weight, of_sample_weight

    def _bars(self, loss_bar: Tensor | None, lse_bar: Tensor | None) -> Bars:
        def of_rows(bar: Tensor) -> Tensor:
            return self.truth.kept(bar.double().reshape(-1))

        share = torch.zeros_like(self.rows.loss)
        if loss_bar is not None:
            each = of_rows(loss_bar) if self.arguments.options.reduction == "none" else loss_bar.double()
            share = share + each * self.factor
        return Bars(
            share, share * _share(self.truth, self.rows), None if lse_bar is None else of_rows(lse_bar), self.mean
        )

    def _fill(self, x: Tensor | None, few: Tensor | None, bars: Bars, needs: Needs) -> _Gradients:
        """Write the gradients of x and of a few classes' truth, and return this rank's own."""
        arguments, truth, logits = self.arguments, self.truth, self.logits.take()
        of_weight = torch.zeros_like(arguments.weight) if needs.weight else None
        of_bias = arguments.x.new_zeros(len(arguments.weight), dtype=arguments.dtype) if needs.bias else None
        of_class_weight, of_sample_weight = None, None
        if arguments.class_weight_grad:
            of_class_weight = arguments.x.new_zeros(len(arguments.weight), dtype=torch.float64)
        if needs.sample_weight and arguments.sample_weight is not None:
            each = bars.share * (self.rows.loss - self.mean * self.rows.weight)
            of_sample_weight = truth.spread(each).to(arguments.sample_weight.dtype)
        whole = few
        if few is None and arguments.target_grad and arguments.probs is not None:
            whole = torch.zeros_like(arguments.probs, dtype=arguments.dtype)
        of_x, of_target = (
            t if t is None or truth.rows is None else t.new_zeros(len(logits.x), t.shape[1]) for t in (x, whole)
        )
        gradients = Gradients(of_x, of_weight, of_bias, of_target, of_class_weight)
        fill(gradients, logits, truth, self.rows, self.largest, bars)
        for into, found in ((x, of_x), (whole, of_target)):
            if into is not None and found is not None and truth.rows is not None:
                into.index_copy_(0, truth.rows, found)
        if of_bias is not None and arguments.bias is not None:
            of_bias = of_bias.to(arguments.bias.dtype)
        of_target = None if few is not None or whole is None else whole.to(arguments.probs_dtype)
        if of_class_weight is not None and arguments.class_weight is not None:
            of_class_weight = of_class_weight.to(arguments.class_weight.dtype)
        return of_weight, of_bias, of_target, of_class_weight, of_sample_weight


def _parts(arguments: Arguments, largest: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the two columns of the MAX: the rows' largest logits and, where they are sought, probabilities."""
    n = arguments.rows
    return largest[:n], largest[n:] if arguments.seeks_most else None


def _result(local: _Local, rows: Rows, loss: Tensor, numbers: list[float]) -> Result:
    arguments, lse, accuracy = local.arguments, None, None
    assert arguments is not None
    if arguments.options.return_lse:
        lse = local.truth.spread(rows.lse).reshape(arguments.row_shape).to(arguments.dtype)
    if arguments.options.return_accuracy:
        accuracy = torch.tensor(numbers[2] / numbers[3] if numbers[3] else torch.nan, device=loss.device)
    return Result(loss, lse, accuracy)


def _over_class_group(
    ranks: Ranks, arguments: Arguments | None, error: Exception | None
) -> tuple[_Local, Rows, Tensor]:
    local = _Local(arguments)
    _, found = largest_over_ranks(ranks, arguments, error, local.write_top)
    assert arguments is not None
    top, most = _parts(arguments, found)
    payload = wire.blank(arguments)
    local.write_sums(payload, top, most)
    ranks.sum_(payload)
    if wire.refusals(payload):
        raise refusal(ranks, local.error)
    differing = wire.difference(payload, ranks.size) if arguments.check_same else None
    if differing is not None:
        raise Refusal(ValueError(f"{differing} differs between the ranks of the group: expected the same on all"))
    sums = wire.read(payload, arguments, local.truth, top)
    largest = torch.where(local.statistics.top == sums.top, local.statistics.place, -1)
    return local, rows_of(arguments, sums), largest


def _share(truth: Truth, rows: Rows) -> Tensor:
    """Return what each row's loss is multiplied by: its sample weight."""
    given = truth.arguments.sample_weight
    return torch.ones_like(rows.loss) if given is None else truth.kept(given).double()


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
