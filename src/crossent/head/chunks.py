"""The head on NumPy arrays: chunk by chunk through the native products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from crossent import _native, arrays
from crossent.arrays import Array, compute_dtype
from crossent.head.plan import HeadPlan
from crossent.head.truth import HeadTruth, row_numbers


@dataclass(frozen=True, slots=True)
class HeadInputs:
    """Checked arrays and options of a head.

    Attributes
    ----------
    x : array (N, D)
    weight : array (C, D)
        Of the same dtype; C-contiguous.
    bias : array (C,) or None
        In the computing type.
    softcap : float or None
    scale : float
        Multiplies the gradients: 1 / the denominator of a mean.
    threshold : float
        Of the unbiased gradient; 0 for the exact one.
    """

    x: Array
    weight: Array
    truth: HeadTruth
    bias: Array | None
    logit_scale: float
    softcap: float | None
    z_loss: float
    scale: float
    threshold: float
    seed: int
    n_threads: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype in which logits are computed."""
        return compute_dtype(self.weight)


@dataclass(frozen=True, slots=True)
class HeadOutputs:
    """Where results go: arrays to be filled, None for what is not wanted.

    Attributes
    ----------
    losses, lse : float64 arrays (n,)
        Of the rows that take part.
    leader : int32 array (n,)
    x_grad : array (N, D) of x's dtype or of the computing type, or None
        Zero in rows that take no part.
    weight_grad : array (C, D) of the computing type or None
    adds : bool
        Whether ``weight_grad`` is added to what is there.
    bias_grad : float64 array (C,) or None
    target_grad : array (n, C) of the computing type, or float64 array (n, k), or None
    """

    losses: Array
    lse: Array
    leader: Array
    x_grad: Array | None = None
    weight_grad: Array | None = None
    bias_grad: Array | None = None
    target_grad: Array | None = None
    adds: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Momentum's step on the weight, in place."""

    velocity: Array
    learning_rate: float
    momentum: float
    weight_decay: float


def run_chunks(given: HeadInputs, plan: HeadPlan, out: HeadOutputs, step: Step | None = None) -> None:
    """Fill ``out``, chunk by chunk; with ``step``, move the weight instead of keeping its gradient."""
    head = _native_head(given, plan)
    room = _Room(given, plan, out)
    with _one_thread_per_product():
        for number in range(plan.chunks):
            part = plan.rows(number)
            _run_chunk(given, plan, out, step, head, room, part)


def _run_chunk(
    given: HeadInputs, plan: HeadPlan, out: HeadOutputs, step: Step | None, head: Any, room: _Room, part: slice
) -> None:
    truth, dtype = given.truth, given.dtype
    rows = truth.rows_of_x(part)
    x = np.ascontiguousarray(given.x[rows], dtype)
    chunk = truth.chunk(
        part,
        dtype,
        groups=plan.groups,
        z_loss=given.z_loss,
        scale=given.scale,
        softcap=given.softcap,
        n_threads=given.n_threads,
    )
    head.forward(chunk, x, room.logits)
    chunk.results(out.losses[part], out.lse[part], out.leader[part])
    soft = truth.probs is not None
    if out.target_grad is not None and not soft:
        chunk.entry_target_gradient(out.target_grad[part].reshape(-1))
    dense_target_grad = out.target_grad[part] if out.target_grad is not None and soft else None
    wanted = (step, out.x_grad, out.weight_grad, out.bias_grad, dense_target_grad)
    if all(each is None for each in wanted):
        return
    x_grad = None if out.x_grad is None else np.empty_like(x)
    head.backward(
        chunk,
        x,
        kept=room.logits,
        x_parts=room.x_parts,
        x_grad=x_grad,
        weight_grad=out.weight_grad,
        fresh=part.start == 0 and not out.adds,
        bias_sums=out.bias_grad,
        target_grad=dense_target_grad,
        threshold=given.threshold,
        seed=given.seed,
        row_number=row_numbers(rows) if given.threshold else None,
        stepped=given.weight if step else None,
        velocity=step.velocity if step else None,
        rate=step.learning_rate if step else 0.0,
        momentum=step.momentum if step else 0.0,
        decay=step.weight_decay if step else 0.0,
    )
    if out.x_grad is not None:
        out.x_grad[rows] = x_grad


class _Room:
    """What is used again for every chunk."""

    def __init__(self, given: HeadInputs, plan: HeadPlan, out: HeadOutputs) -> None:
        dtype, d = given.dtype, given.x.shape[1]
        self.logits = arrays.empty((plan.chunk * plan.c,), dtype) if plan.keeps_logits else None
        self.x_parts = None if out.x_grad is None else arrays.empty((plan.groups * plan.chunk * d,), dtype)


def _native_head(given: HeadInputs, plan: HeadPlan) -> Any:
    from scipy.linalg import cython_blas

    single = given.dtype == np.float32
    kind = _native.Head32 if single else _native.Head64
    return kind(
        cython_blas.__pyx_capi__["sgemm" if single else "dgemm"],
        arrays.bits(given.weight),
        bfloat=given.weight.dtype.name == "bfloat16",
        bias=given.bias,
        logit_scale=given.logit_scale,
        row_block=plan.row_block,
        class_tile=plan.class_tile,
    )


@cache
def _blas() -> Any:
    # Looked for once: to find the libraries of a process takes milliseconds.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _one_thread_per_product() -> Any:
    return _blas().limit(limits=1)
