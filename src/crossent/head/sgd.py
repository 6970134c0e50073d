"""Momentum SGD on a head's weight, tile by tile as the gradient is made: no (C, D) gradient is ever held."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crossent.arrays import Array
from crossent.cpu import thread_count
from crossent.errors import invalid_type, invalid_value
from crossent.head.chunks import HeadInputs, HeadOutputs, Step, run_chunks
from crossent.head.linear import (
    _finite,
    _non_negative,
    _positive,
    checked_bias,
    checked_layer,
    empty_outputs,
    head_divisor,
    reduced_loss,
)
from crossent.head.plan import one_chunk_plan
from crossent.head.truth import head_truth
from crossent.targets import IGNORE_INDEX


class StepResult(NamedTuple):
    """What a fused step leaves beside the moved weight.

    Attributes
    ----------
    loss : scalar
        Before the step, in nats.
    x_grad : array of x's shape or None
        Its derivative, with the weight from before the step.
    """

    loss: Any
    x_grad: Array | None


def fused_sgd_step(
    x: object,
    weight: Array,
    target: object,
    velocity: Array,
    *,
    bias: Array | None = None,
    bias_velocity: Array | None = None,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    class_weight: object = None,
    sample_weight: object = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    z_loss: float = 0.0,
    normalizer: float | None = None,
    reduction: str = "mean",
    logit_scale: float = 1.0,
    softcap: float | None = None,
    shift: int = 0,
    max_memory: int | str = "256MiB",
    needs_x_grad: bool = True,
    n_threads: int | None = None,
) -> StepResult:
    r"""Take one step of momentum SGD on weight and bias, in place, and return the loss and x's gradient.

    .. math:: v \leftarrow μ v + (\partial L/\partial W + λ W),\qquad W \leftarrow W - η v

    as PyTorch's SGD does. All rows are surveyed first; then each tile of classes gets its gradient, from logits made
    again unless they fit ``max_memory``, and its step. Equal to :func:`crossent.linear_cross_entropy` and a step after
    it, up to rounding.

    Parameters
    ----------
    x : array (…, D), float32 or float64
    weight, velocity : arrays (C, D) of x's dtype, C-contiguous
        Both are changed.
    bias, bias_velocity : arrays (C,) of x's dtype, optional
        Both are changed; without decay.
    learning_rate, momentum, weight_decay : float
    max_memory : int or str
        Here it has to hold x and its gradient several times, as all rows are worked on at once.
    needs_x_grad : bool
        False saves a product and that memory.
    target, and the other options
        As for :func:`crossent.linear_cross_entropy`.

    Raises
    ------
    TypeError, ValueError
        Naming argument, value and expectation; then nothing has been changed.

    Examples
    --------
    >>> import numpy as np
    >>> import crossent
    >>> rng = np.random.default_rng(0)
    >>> x, labels = rng.normal(size=(64, 4)), rng.integers(0, 10, 64)
    >>> weight, velocity = np.zeros((10, 4)), np.zeros((10, 4))
    >>> losses = [
    ...     crossent.fused_sgd_step(x, weight, labels, velocity, learning_rate=0.5).loss for _ in range(20)
    ... ]
    >>> bool(losses[-1] < losses[0])
    True
    """
    features, rows, classes = checked_layer(x, weight)
    _check_in_place(weight, velocity, bias, bias_velocity)
    if reduction not in ("mean", "sum"):
        raise invalid_value("reduction", reduction, "'mean' or 'sum', as a step needs one loss")
    rate, decay = _non_negative("learning_rate", learning_rate), _non_negative("weight_decay", weight_decay)
    keep = _non_negative("momentum", momentum)
    truth = head_truth(
        target,
        features.shape[:-1],
        classes.shape[0],
        classes,
        shift=shift,
        weight=class_weight,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    threads = thread_count(n_threads)
    plan = one_chunk_plan(truth.count, rows.shape[1], classes.shape[0], classes.dtype, max_memory, threads)
    given = HeadInputs(
        rows,
        classes,
        truth,
        checked_bias(bias, classes),
        _finite("logit_scale", logit_scale),
        None if softcap is None else _positive("softcap", softcap),
        _non_negative("z_loss", z_loss),
        1.0 / head_divisor(truth, normalizer, reduction),
        0.0,
        0,
        threads,
    )
    empty = empty_outputs(truth)
    out = HeadOutputs(
        empty.losses,
        empty.lse,
        empty.leader,
        x_grad=np.zeros_like(rows) if needs_x_grad else None,
        bias_grad=None if bias is None else np.zeros(truth.classes),
    )
    if truth.count:
        run_chunks(given, plan, out, Step(velocity, rate, keep, decay))
    else:  # the gradient is 0, but velocity and decay still move the weight
        velocity *= keep
        velocity += weight.dtype.type(decay) * weight
        weight -= weight.dtype.type(rate) * velocity
    if bias is not None and bias_velocity is not None:
        assert out.bias_grad is not None
        bias_velocity *= keep
        bias_velocity += out.bias_grad.astype(bias.dtype)
        bias -= bias.dtype.type(rate) * bias_velocity
    loss = reduced_loss(given, out, features.shape[:-1], reduction)
    return StepResult(loss, None if out.x_grad is None else out.x_grad.reshape(features.shape))


class FusedHeadSGD:
    """A head's weight and bias with their velocities, and the fused step on them.

    Parameters
    ----------
    weight : array (C, D), float32 or float64
        Changed by every step.
    bias : array (C,) of the same dtype, optional
        Likewise.
    learning_rate, momentum, weight_decay : float
        May be changed between steps.
    **options
        Of :func:`crossent.fused_sgd_step`, for every step.

    Examples
    --------
    >>> import numpy as np
    >>> import crossent
    >>> rng = np.random.default_rng(0)
    >>> head = crossent.FusedHeadSGD(np.zeros((10, 4), np.float32), learning_rate=0.5)
    >>> x, labels = rng.normal(size=(64, 4)).astype(np.float32), rng.integers(0, 10, 64)
    >>> loss, x_grad = head.step(x, labels)
    >>> loss, x_grad.shape
    (np.float32(2.3025851), (64, 4))
    """

    def __init__(
        self,
        weight: Array,
        bias: Array | None = None,
        *,
        learning_rate: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        self.weight, self.bias = weight, bias
        self.velocity = np.zeros_like(weight)
        self.bias_velocity = None if bias is None else np.zeros_like(bias)
        self.learning_rate, self.momentum, self.weight_decay = learning_rate, momentum, weight_decay
        self.options = options
        _check_in_place(weight, self.velocity, bias, self.bias_velocity)

    def step(self, x: object, target: object, **options: Any) -> StepResult:
        """Take a step on these rows; return their loss before it, and x's gradient."""
        return fused_sgd_step(
            x,
            self.weight,
            target,
            self.velocity,
            bias=self.bias,
            bias_velocity=self.bias_velocity,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            **{**self.options, **options},
        )


def _check_in_place(weight: Array, velocity: Array, bias: Array | None, bias_velocity: Array | None) -> None:
    if (bias is None) != (bias_velocity is None):
        raise ValueError("bias and bias_velocity: expected both, or neither")
    pairs = [("weight", weight, weight), ("velocity", velocity, weight)]
    if bias is not None and bias_velocity is not None:
        pairs += [("bias", bias, bias), ("bias_velocity", bias_velocity, bias)]
    for name, array, like in pairs:
        if not isinstance(array, np.ndarray):
            raise invalid_type(name, array, "a NumPy array, which is changed in place")
        if array.dtype not in (np.float32, np.float64) or array.dtype != weight.dtype:
            raise TypeError(f"{name} has dtype {array.dtype}: expected float32 or float64, that of the weight")
        if array.shape != like.shape:
            raise ValueError(f"{name} has shape {array.shape}: expected {like.shape}")
        if not (array.flags.writeable and array.flags.c_contiguous):
            raise ValueError(f"{name}: expected a C-contiguous array that can be written")
    if np.may_share_memory(weight, velocity):
        raise ValueError("velocity shares memory with weight: expected an array of its own")
