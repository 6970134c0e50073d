"""Momentum SGD on a head: each chunk's products are added to the velocity, so that no (C, D) gradient is ever held."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from crossent.errors import invalid_type, invalid_value
from crossent.torch.call import FLOATS, compute_dtype
from crossent.torch.linear import passes
from crossent.torch.linear.call import HeadCall, head_call
from crossent.torch.linear.plan import rows_of_chunk
from crossent.torch.linear.results import Wanted, check_labels


class StepResult(NamedTuple):
    """What a fused step leaves beside the moved weights.

    Attributes
    ----------
    loss : Tensor ()
        Before the step, in nats; without a graph.
    x_grad : Tensor of the input's shape and dtype, or None
        Its derivative in the input, with the weights from before the step.
    """

    loss: Tensor
    x_grad: Tensor | None


class FusedHeadSGD:
    r"""The weights of a head with their velocities, and a step of momentum SGD that makes no gradient of their size.

    .. math:: v \leftarrow μ v + (\partial L/\partial W + λ W),\qquad W \leftarrow W - η v

    as :class:`torch.optim.SGD` does; equal to :func:`linear_cross_entropy`, its backward and that step up to rounding.

    Parameters
    ----------
    linear_weight : Tensor (C, D), or (C, d1, …, D)
        Changed by every step. A parameter may be given as it is; leave it out of the other optimizer.
    linear_bias : Tensor (C), or (C, d1, …), optional
        Likewise; without decay.
    learning_rate, momentum, weight_decay : float
        η, μ and λ. May be changed between steps.
    weight, ignore_index, label_smoothing, z_loss, logit_scale, softcap, shift, max_memory
        As for :func:`linear_cross_entropy`, for every step.
    reduction : "mean" or "sum"

    Attributes
    ----------
    velocity, bias_velocity : Tensor
        v, in float32 or better.

    Raises
    ------
    TypeError, ValueError
        Naming argument, value and expectation.

    Examples
    --------
    >>> import torch
    >>> from crossent.torch import FusedHeadSGD
    >>> body, head = torch.nn.Linear(6, 4), FusedHeadSGD(torch.zeros(10, 4), learning_rate=0.5)
    >>> x = body(torch.randn(64, 6))
    >>> loss, x_grad = head.step(x, torch.randint(10, (64,)))
    >>> x.backward(x_grad)
    >>> print(f"{loss:.4f}")
    2.3026
    """

    def __init__(
        self,
        linear_weight: Tensor,
        linear_bias: Tensor | None = None,
        *,
        learning_rate: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        logit_scale: float = 1.0,
        softcap: float | None = None,
        shift: int = 0,
        max_memory: int | str = "64MiB",
    ) -> None:
        for name, tensor in (("linear_weight", linear_weight), ("linear_bias", linear_bias)):
            if not isinstance(tensor, Tensor) and not (tensor is None and name == "linear_bias"):
                raise invalid_type(name, tensor, "a tensor, which is changed in place")
            if tensor is not None and tensor.dtype not in FLOATS:
                raise TypeError(f"{name} has dtype {tensor.dtype}: expected a floating one")
        if reduction not in ("mean", "sum"):
            raise invalid_value("reduction", reduction, "'mean' or 'sum', as a step needs one loss")
        self.linear_weight, self.linear_bias = linear_weight, linear_bias
        self.velocity = _at_rest(linear_weight)
        self.bias_velocity = None if linear_bias is None else _at_rest(linear_bias)
        self.learning_rate, self.momentum, self.weight_decay = learning_rate, momentum, weight_decay
        self.options: dict[str, Any] = {
            "weight": weight,
            "reduction": reduction,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            "z_loss": z_loss,
            "logit_scale": logit_scale,
            "softcap": softcap,
            "shift": shift,
            "max_memory": max_memory,
        }

    def step(
        self,
        input: Tensor,
        target: Any,
        *,
        sample_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
        needs_x_grad: bool = True,
    ) -> StepResult:
        """Take a step on these rows; return their loss before it, and its derivative in the input.

        Parameters
        ----------
        input, target, sample_weight, normalizer
            As for :func:`linear_cross_entropy`. What is wrong with them is raised before anything moves.
        needs_x_grad : bool
            False saves a product.
        """
        rates = [_non_negative(name, getattr(self, name)) for name in ("learning_rate", "momentum", "weight_decay")]
        leaf = input.detach().requires_grad_(needs_x_grad) if isinstance(input, Tensor) else input
        with torch.enable_grad():
            call = head_call(
                leaf,
                self.linear_weight.detach(),
                target,
                None if self.linear_bias is None else self.linear_bias.detach(),
                sample_weight=sample_weight,
                normalizer=normalizer,
                **self.options,
            )
        if call.x.device.type == "cpu":
            check_labels(call)
        rows_of_chunk(call)  # which refuses a budget that is none
        loss, x_bar = self._moved(call, rates, needs_x_grad)
        # Back through what made rows of the input: shifted sequences, a cast, an axis of its own.
        x_grad = None if x_bar is None else torch.autograd.grad(call.x, leaf, x_bar.to(call.x.dtype))[0]
        return StepResult(loss, x_grad)

    @torch.no_grad()
    def _moved(self, call: HeadCall, rates: list[float], needs_x_grad: bool) -> tuple[Tensor, Tensor | None]:
        rate, keep, decay = rates
        self.velocity.mul_(keep).add_(self.linear_weight, alpha=decay)
        wanted = Wanted(needs_x_grad, weight=True, bias=self.linear_bias is not None)
        done = passes.run(call, wanted, weight_bar=self.velocity.view_as(call.linear_weight))
        self.linear_weight.add_(self.velocity, alpha=-rate)
        if self.linear_bias is not None and self.bias_velocity is not None and done.bias is not None:
            self.bias_velocity.mul_(keep).add_(done.bias.view_as(self.bias_velocity))
            self.linear_bias.add_(self.bias_velocity, alpha=-rate)
        return done.result.loss, done.x


def _at_rest(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, dtype=compute_dtype(tensor.dtype), device=tensor.device)


def _non_negative(argument: str, value: float) -> float:
    if not 0.0 <= value < float("inf"):
        raise invalid_value(argument, value, "a finite number of at least 0")
    return float(value)
