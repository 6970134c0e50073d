"""A function of many rows, run on a few at a time: so are its derivatives, of any order, in either direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Chunked:
    """A function that treats rows alike.

    Attributes
    ----------
    function : callable
        Of the tensors of a chunk: first those that have rows, then those that all rows share. It returns first what has
        rows, which are put together, then what is summed over the chunks.
    rows_in, rows_out : int
        How many of its arguments and of its results have rows.
    step : int
        Rows of a chunk.
    """

    function: Callable[..., Tensors]
    rows_in: int
    rows_out: int
    step: int

    def run(self, *arguments: Tensor) -> Tensors:
        """Return the results of all rows, chunk by chunk."""
        rows, shared = arguments[: self.rows_in], arguments[self.rows_in :]
        n = rows[0].shape[0]
        parts: list[Tensors] = []
        sums: Tensors = ()
        for first in range(0, max(n, 1), self.step):
            results = self.function(*(t.narrow(0, first, min(self.step, n - first)) for t in rows), *shared)
            parts.append(results[: self.rows_out])
            added = results[self.rows_out :]
            sums = tuple(a + b for a, b in zip(sums, added, strict=True)) if sums else added
        return (*(torch.cat(part) for part in zip(*parts, strict=True)), *sums)

    def pulled(self, wanted: tuple[bool, ...]) -> Chunked:
        """Return the function of arguments and cotangents that gives the wanted arguments' cotangents."""
        places = [i for i, want in enumerate(wanted) if want]

        def pull(*tensors: Tensor) -> Tensors:
            arguments, cotangents = self._unzip(tensors, len(wanted))
            given = list(arguments)

            def of_wanted(*some: Tensor) -> Tensors:
                for i, tensor in zip(places, some, strict=True):
                    given[i] = tensor
                return self.function(*given)

            back = torch.func.vjp(of_wanted, *(arguments[i] for i in places))[1]
            answer: Tensors = back(cotangents)
            return answer

        rows_out = sum(i < self.rows_in for i in places)
        return Chunked(pull, self.rows_in + self.rows_out, rows_out, self.step)

    def pushed(self, moving: tuple[bool, ...]) -> Chunked:
        """Return the function of arguments and tangents that gives the results' tangents."""
        places = [i for i, moves in enumerate(moving) if moves]

        def pushed(*tensors: Tensor) -> Tensors:
            moving_rows = sum(i < self.rows_in for i in places)
            rows, shared = tensors[: self.rows_in + moving_rows], tensors[self.rows_in + moving_rows :]
            fixed = len(moving) - self.rows_in
            given = [*rows[: self.rows_in], *shared[:fixed]]
            tangents = (*rows[self.rows_in :], *shared[fixed:])

            def of_moving(*some: Tensor) -> Tensors:
                for i, tensor in zip(places, some, strict=True):
                    given[i] = tensor
                return self.function(*given)

            # A tangent is laid out as its tensor is: not one place for many numbers, as expand() has it.
            at = tuple(given[i].contiguous() for i in places)
            return push(of_moving, at, tuple(t.contiguous() for t in tangents))

        return Chunked(pushed, self.rows_in + sum(i < self.rows_in for i in places), self.rows_out, self.step)

    def zip(self, arguments: Tensors, others: Tensors, rows_of_others: int) -> Tensors:
        """Return both with those that have rows in front, as a derived function takes them."""
        rows = arguments[: self.rows_in] + others[:rows_of_others]
        return rows + arguments[self.rows_in :] + others[rows_of_others:]

    def _unzip(self, tensors: Tensors, count: int) -> tuple[Tensors, Tensors]:
        rows = self.rows_in + self.rows_out
        fixed = rows + count - self.rows_in
        arguments = tensors[: self.rows_in] + tensors[rows:fixed]
        return arguments, tensors[self.rows_in : rows] + tensors[fixed:]


def push(function: Callable[..., Tensors], at: Tensors, along: Tensors) -> Tensors:
    """Return the derivatives of the results along these tangents.

    By two pulls: forward mode does not nest in forward mode. J v is the derivative of u ↦ Jᵀu, pulled back from v.
    """

    def pull(*cotangents: Tensor) -> Tensors:
        answer: Tensors = torch.func.vjp(function, *at)[1](cotangents)
        return answer

    anywhere = tuple(torch.zeros_like(result) for result in function(*at))
    answer: Tensors = torch.func.vjp(pull, *anywhere)[1](along)
    return answer


class _Run(Function):
    """A chunked function; its arguments are all that its derivatives need, and these are chunked functions again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(chunked: Chunked, *arguments: Tensor) -> Tensors:
        return chunked.run(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.chunked, *arguments = inputs
        ctx.save_for_backward(*arguments)
        ctx.save_for_forward(*arguments)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        chunked, arguments = ctx.chunked, ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad[1:])
        pulled = chunked.pulled(wanted)
        answers = iter(apply(pulled, *chunked.zip(arguments, cotangents, chunked.rows_out)))
        return None, *(next(answers) if want else None for want in wanted)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> Tensors:
        chunked, arguments = ctx.chunked, ctx.saved_tensors
        moving = tuple(t is not None for t in tangents)
        along = tuple(t for t in tangents if t is not None)
        moving_rows = sum(moving[: chunked.rows_in])
        return apply(chunked.pushed(moving), *chunked.zip(arguments, along, moving_rows))


def apply(chunked: Chunked, *arguments: Tensor) -> Tensors:
    """Return the results, differentiable to any order; what a derivative holds at once is one chunk's."""
    # torch.compile does not trace a Function that has a forward derivative of its own: it sees the loop instead.
    if torch.compiler.is_compiling():
        return chunked.run(*arguments)
    result: Tensors = _Run.apply(chunked, *arguments)  # type: ignore[no-untyped-call]
    return result
