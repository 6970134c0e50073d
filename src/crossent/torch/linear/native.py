"""A head of CPU tensors by the native kernels, on the tensors' own memory: the bits are those of NumPy's head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossent import arrays
from crossent.arrays import Array, compute_dtype
from crossent.head.chunks import HeadInputs, HeadOutputs, run_chunks
from crossent.head.linear import accuracy_of, empty_outputs, to_rows, zeros_around
from crossent.head.memory import bytes_of
from crossent.head.plan import HeadPlan, head_plan, least_memory
from crossent.head.truth import HeadTruth, head_truth
from crossent.torch.formulas import Rows
from crossent.torch.kernels import as_numpy
from crossent.torch.linear import bfloat16
from crossent.torch.linear.call import HeadCall
from crossent.torch.linear.results import Pass, Wanted, check_labels, denominator_of
from crossent.torch.linear.rows import Result


def run(call: HeadCall, wanted: Wanted, factor: float | Tensor, weight_bar: Tensor | None) -> Pass | None:
    """Return what :func:`passes.run` does; None for a call that the kernels do not take.

    They take labels, distributions and sparse ones of one place a row, with weights of at least 0, and weights that lie
    next to each other.
    """
    truth = _truth(call)
    if truth is None:
        return None
    denominator = float(denominator_of(call.loss, Rows(call.loss, torch.float64)))
    part = 1.0 / denominator
    if isinstance(factor, Tensor):
        truth = _times(truth, as_numpy(factor.double()).reshape(-1))
    else:
        part *= factor
    given = _inputs(call, truth, part)
    out = _outputs(call, given, wanted, weight_bar)
    if given.weight.dtype.name == "bfloat16" and not given.threshold:
        bfloat16.run_chunks(call, given, out)
    else:
        run_chunks(given, _plan(call, given, wanted), out)
    return _pass(call, wanted, given, out, denominator)


def _truth(call: HeadCall) -> HeadTruth | None:
    loss, weight = call.loss, call.linear_weight
    if call.x.device.type != "cpu" or call.places != 1 or not weight.is_contiguous() or weight.numel() == 0:
        return None
    target = as_numpy(loss.target)
    try:
        return head_truth(
            target if call.indices is None else (as_numpy(call.indices), target),
            tuple(call.x.shape[:1]),
            weight.shape[0],
            as_numpy(weight),
            weight=None if loss.weight is None else as_numpy(loss.weight),
            sample_weight=None if loss.sample_weight is None else as_numpy(loss.sample_weight),
            label_smoothing=loss.smoothing,
            ignore_index=loss.ignore_index,
        )
    except ValueError:  # shapes and types are right: a label is out of range, or a weight or a mass is none
        check_labels(call)
        return None


def _times(truth: HeadTruth, factor: Array) -> HeadTruth:
    weight = factor[truth.rows]
    weight = weight if truth.row_weight is None else truth.row_weight * weight
    return replace(truth, row_weight=np.ascontiguousarray(weight))


def _inputs(call: HeadCall, truth: HeadTruth, scale: float) -> HeadInputs:
    weight, bias = as_numpy(call.linear_weight), None
    if call.linear_bias is not None:
        # The scale is the bias's too here.
        bias = np.ascontiguousarray(as_numpy(call.linear_bias), compute_dtype(weight))
        bias = bias if call.scale == 1.0 else bias * bias.dtype.type(call.scale)
    return HeadInputs(
        as_numpy(call.x),
        weight,
        truth,
        bias,
        call.scale,
        call.softcap,
        call.loss.z_loss,
        scale,
        call.threshold,
        call.seed,
        torch.get_num_threads(),
    )


def _outputs(call: HeadCall, given: HeadInputs, wanted: Wanted, weight_bar: Tensor | None) -> HeadOutputs:
    rows, dtype = empty_outputs(given.truth), given.dtype
    weight_grad = None
    if weight_bar is not None:
        weight_grad = as_numpy(weight_bar)
    elif wanted.weight:
        make = arrays.empty if given.truth.count else np.zeros
        weight_grad = make(given.weight.shape, dtype)
    return HeadOutputs(
        rows.losses,
        rows.lse,
        rows.leader,
        zeros_around(given.x.shape, dtype, given.truth) if wanted.x else None,
        weight_grad,
        np.zeros(given.truth.classes) if wanted.bias else None,
        adds=weight_bar is not None,
    )


def _plan(call: HeadCall, given: HeadInputs, wanted: Wanted) -> HeadPlan:
    n, d, c = given.truth.count, given.x.shape[1], given.truth.classes
    needs = [name for name, want in (("x", wanted.x), ("weight", wanted.weight)) if want]
    sizes: dict[str, Any] = {"dtype": given.weight.dtype, "needs": needs, "n_threads": given.n_threads}
    budget = max(bytes_of("max_memory", call.max_memory), least_memory(n, d, c, **sizes))
    gradient = "unbiased" if given.threshold else "exact"
    return head_plan(n, d, c, max_memory=budget, gradient=gradient, **sizes)


def _pass(call: HeadCall, wanted: Wanted, given: HeadInputs, out: HeadOutputs, denominator: float) -> Pass:
    truth, shape = given.truth, tuple(call.x.shape[:1])
    if call.loss.reduction == "none":
        loss = torch.from_numpy(to_rows(out.losses, truth, shape))
    else:
        loss = torch.tensor(float(out.losses.sum()) / denominator, dtype=torch.float64)
    lse = torch.from_numpy(to_rows(out.lse, truth, shape)).to(call.compute_dtype) if wanted.lse else None
    accuracy = torch.tensor(accuracy_of(truth, out.leader)) if wanted.accuracy else None
    bias = None
    if out.bias_grad is not None:
        bias = torch.from_numpy(out.bias_grad).mul_(call.scale).to(call.compute_dtype)
    x, weight = (None if grad is None else torch.from_numpy(grad) for grad in (out.x_grad, out.weight_grad))
    return Pass(Result(loss.to(call.loss.loss_dtype), lse, accuracy), x, weight, bias)
