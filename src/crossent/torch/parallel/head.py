"""A linear layer and its loss, with the classes spread over the ranks of a group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from crossent.errors import invalid_value
from crossent.torch.parallel.layout import class_range
from crossent.torch.parallel.loss import class_parallel_cross_entropy
from crossent.torch.parallel.ranks import Ranks

# Rows that one random generator makes: a rank makes the blocks that its classes touch.
_BLOCK = 1024


class ClassParallelHead(nn.Module):
    """The last layer of a classifier and its loss: each rank holds some of the classes.

    Parameters
    ----------
    in_features, num_classes : int
        D and C. Each rank holds the classes of :func:`class_range`.
    bias : bool
    group, row_group : ProcessGroup, optional
        As for :func:`class_parallel_cross_entropy`. Where rows are spread as well, wrap the head with
        ``DistributedDataParallel(head, process_group=row_group)``, or average its gradients over ``row_group``.
    seed : int
        Of the first weights, uniform within ±1/√D as those of :class:`torch.nn.Linear`. They depend on the seed and
        the class alone, not on the number of ranks.
    device, dtype : optional
        Of the parameters.
    **options
        Of the loss: ``weight, label_smoothing, ignore_index, z_loss, reduction, logit_scale, softcap, shift,
        max_memory, return_lse, return_accuracy, gradient, threshold, generator, check_same``.

    Attributes
    ----------
    weight : Parameter (c, D)
    bias : Parameter (c) or None
    class_range : int64 buffer (3)
        First class, the one after the last, and C: ``state_dict`` tells which rows it holds.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> import torch
    >>> from crossent.torch.parallel import ClassParallelHead
    >>> head = ClassParallelHead(4, 10, seed=1)
    >>> loss = head(torch.zeros(2, 4), torch.tensor([3, 7]))
    >>> loss.backward()
    >>> head.weight.shape, head.class_range
    (torch.Size([10, 4]), tensor([ 0, 10, 10]))
    """

    class_range: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        *,
        group: ProcessGroup | None = None,
        row_group: ProcessGroup | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise invalid_value("num_classes", num_classes, "an integer of at least 1")
        if in_features < 1:
            raise invalid_value("in_features", in_features, "an integer of at least 1")
        self.in_features, self.num_classes, self.seed = in_features, num_classes, seed
        self.group, self.row_group, self.options = group, row_group, options
        ranks = Ranks(group)
        self._own = class_range(num_classes, ranks.rank, ranks.size)
        rows = _first_rows(self._own, in_features, seed).to(device=device, dtype=dtype)
        self.weight = nn.Parameter(rows[:, :-1].contiguous())
        self.bias = nn.Parameter(rows[:, -1].contiguous()) if bias else None
        self.register_buffer("class_range", torch.tensor([self._own.start, self._own.stop, num_classes], device=device))

    def forward(
        self,
        x: Tensor,
        target: Any,
        *,
        sample_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Any:
        """Return the loss; arguments are those of :func:`class_parallel_cross_entropy`."""
        return class_parallel_cross_entropy(
            x,
            self.weight,
            target,
            bias_shard=self.bias,
            group=self.group,
            row_group=self.row_group,
            sample_weight=sample_weight,
            normalizer=normalizer,
            **self.options,
        )

    def extra_repr(self) -> str:
        own = f"classes {self._own.start} to {self._own.stop - 1}" if self._own else "no classes"
        return f"in_features={self.in_features}, num_classes={self.num_classes}, bias={self.bias is not None}, {own}"

    def load_rows(self, states: Iterable[Mapping[str, Tensor]]) -> None:
        """Take this rank's classes from the state dicts of all ranks of another job, of whatever number.

        Parameters
        ----------
        states : iterable of mappings
            ``state_dict()`` of each rank, in any order; those without classes of this rank are only looked at.

        Raises
        ------
        ValueError
            If they are of another number of classes or features, or a class of this rank is in none or in several.
        """
        found = torch.zeros(len(self._own), dtype=torch.int64)
        own = dict(self.named_parameters())
        fresh = {name: torch.empty_like(value) for name, value in own.items()}
        for state in states:
            start, stop, total = (int(each) for each in state["class_range"])
            for name, value in own.items():
                if name not in state or (total, state[name].shape[1:]) != (self.num_classes, value.shape[1:]):
                    here = f"{self.num_classes} classes, {name} of {tuple(value.shape[1:])} for each"
                    there = f"{total} classes, {name} " + (
                        f"{tuple(state[name].shape)}" if name in state else "missing"
                    )
                    raise ValueError(f"state dict of classes {start} to {stop - 1} has {there}: expected {here}")
            low, high = max(start, self._own.start), min(stop, self._own.stop)
            if low < high:
                found[low - self._own.start : high - self._own.start] += 1
                for name in own:
                    fresh[name][low - self._own.start : high - self._own.start] = state[name][
                        low - start : high - start
                    ]
        wrong = (found != 1).nonzero()
        if len(wrong):
            place = int(wrong[0])
            raise ValueError(
                f"class {place + self._own.start} is in {int(found[place])} of the state dicts: expected it in one"
            )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(fresh[name])

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Any, strict: bool, *rest: Any
    ) -> None:
        held = state_dict.get(f"{prefix}class_range")
        if held is not None and held.tolist() != self.class_range.tolist():
            errors = rest[-1]
            errors.append(
                f"{prefix}class_range is {held.tolist()}: expected {self.class_range.tolist()}; "
                "load_rows takes the state dicts of another number of ranks"
            )
            return
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *rest)


def _first_rows(own: range, in_features: int, seed: int) -> Tensor:
    """Return the first weights and biases of some classes, (c, D + 1)."""
    bound = 1.0 / math.sqrt(in_features)
    rows = torch.empty(len(own), in_features + 1)
    for block in range(own.start // _BLOCK, -(-own.stop // _BLOCK) if own else 0):
        generator = torch.Generator().manual_seed(_mixed(seed, block))
        made = torch.empty(_BLOCK, in_features + 1).uniform_(-bound, bound, generator=generator)
        low, high = max(block * _BLOCK, own.start), min((block + 1) * _BLOCK, own.stop)
        rows[low - own.start : high - own.start] = made[low - block * _BLOCK : high - block * _BLOCK]
    return rows


def _mixed(seed: int, block: int) -> int:
    """Return a seed for a block (SplitMix64's finaliser): neighbours must not give related numbers."""
    word = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + block * 0xD1342543DE82EF95 + 1) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    return (z ^ (z >> 31)) >> 1
