"""The loss of labels as one Triton kernel each way: an alternative to the formulas for CUDA tensors, on request.

A program takes a row. With k the largest logit, d_c = z_c - z_k in two parts (TwoSum) and e_c = exp(d_c) of both::

    others = Σ_{c≠k} e_c,    loss = (z_k - z_y) + log1p(others)
    gradient of c: e_c / (1 + others), and of the label minus the sum of all the others'

so that nothing that matters is a difference of near numbers. Exponentials are float32's, scaled and summed in float64.
A row is read three times for a gradient, from memory once where the cache holds it.

Not measured on a GPU; it is correct under Triton's interpreter (``TRITON_INTERPRET=1``), where it is tested.
"""

# Triton has no types, and its kernels are no Python; it may also be absent.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return, untyped-decorator, import-not-found"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from crossent.torch.call import Call
from crossent.torch.formulas import reduced

# A row of at most so many classes is one block.
_MAX_BLOCK = 8192


@triton.jit
def _two_sum(a, b):
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


@triton.jit
def _block(z_row, start, n_classes, BLOCK: tl.constexpr):
    c = start + tl.arange(0, BLOCK)
    return c, tl.load(z_row + c, mask=c < n_classes, other=-float("inf")).to(tl.float32)


@triton.jit
def _power(n):
    """2^n, of whole n, in float64, where none of interest is subnormal."""
    return ((n + 1023).to(tl.int64) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _exp_difference(a, b):
    """exp(a - b) for a <= b, of the exact difference, in float64. (Triton's own exp on a GPU is an approximation.)"""
    d, rest = _two_sum(a, -b)
    held = tl.maximum(tl.minimum(d, 0.0), -150.0)
    n = (held * 1.4426950408889634 - 0.5).to(tl.int32)
    # ln 2 in two parts, the first of few enough digits that n times it is exact.
    r = (held - n.to(tl.float32) * 0.693359375) + n.to(tl.float32) * 2.12194440e-4
    r += tl.where(d > -150.0, rest, 0.0)
    # |r| <= ln 2 / 2: Taylor's terms to r^7.
    p = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0))
    p = 1.0 + (r + r * r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * p))))
    e = p.to(tl.float64) * _power(n)
    return tl.where(d != d, float("nan"), tl.where(d > -150.0, e, 0.0))


@triton.jit
def _log1p(x):
    """log(1 + x) for x >= 0, by 2 atanh(f / (2 + f)) with 1 + x = 2^n (1 + f)."""
    u, lost = _two_sum(1.0, x)
    # Between the square roots of 1/2 and 2, so that f is small.
    n = ((u.to(tl.int32, bitcast=True) - 0x3F3504F3) >> 23).to(tl.int32)
    m = (u.to(tl.int32, bitcast=True) - (n << 23)).to(tl.float32, bitcast=True)
    f = tl.where(n == 0, x, m - 1.0)
    s = tl.div_rn(f, 2.0 + f)
    s2 = s * s
    series = s2 * (1.0 / 3.0 + s2 * (0.2 + s2 * (1.0 / 7.0 + s2 * (1.0 / 9.0 + s2 * (1.0 / 11.0)))))
    # 2 s = f - s f, whose first part is exact.
    near = f - s * (f - 2.0 * series)
    far = n.to(tl.float32) * 0.693359375 + (near + (n.to(tl.float32) * -2.12194440e-4 + tl.div_rn(lost, u)))
    return tl.where((x != x) | (x == float("inf")), x, tl.where(n == 0, near, far))


@triton.jit
def _row(z_row, n_classes, BLOCK: tl.constexpr):
    """The index of the largest logit, itself, and the sum of the others' exponentials."""
    top, at = -float("inf"), 0
    for start in range(0, n_classes, BLOCK):
        c, z = _block(z_row, start, n_classes, BLOCK)
        largest = tl.max(z, axis=0)
        at = tl.where(largest > top, start + tl.argmax(z, axis=0), at)
        top = tl.maximum(top, largest)
    others = tl.full((), 0.0, tl.float64)
    for start in range(0, n_classes, BLOCK):
        c, z = _block(z_row, start, n_classes, BLOCK)
        others += tl.sum(tl.where(c == at, 0.0, _exp_difference(z, top)), axis=0)
    return at, top, others


@triton.jit
def _forward(z_ptr, label_ptr, loss_ptr, stride, n_classes, ignored, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(label_ptr + row)
    loss = 0.0
    if label != ignored:
        z_row = z_ptr + row * stride
        at, top, others = _row(z_row, n_classes, BLOCK)
        is_class = (label >= 0) & (label < n_classes)
        z_label = tl.load(z_row + label, mask=is_class, other=float("nan")).to(tl.float32)
        gap, rest = _two_sum(top, -z_label)
        log1p = _log1p(others.to(tl.float32))
        above = gap + (log1p + tl.where(gap < float("inf"), rest, 0.0))
        loss = tl.where(label == at, log1p, above)
    tl.store(loss_ptr + row, loss)


@triton.jit
def _backward(z_ptr, label_ptr, bar_ptr, grad_ptr, stride, n_classes, ignored, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(label_ptr + row)
    kept = label != ignored
    z_row, grad_row = z_ptr + row * stride, grad_ptr + row * n_classes
    at, top, others = _row(z_row, n_classes, BLOCK)
    is_class = (label >= 0) & (label < n_classes)
    scale = tl.where(is_class, tl.load(bar_ptr + row) / (1.0 + others), float("nan"))
    total = tl.full((), 0.0, tl.float64)
    for start in range(0, n_classes, BLOCK):
        c, z = _block(z_row, start, n_classes, BLOCK)
        # An ignored row may hold NaN, and is written as 0.
        grad = tl.where(kept & (c != label), tl.where(c == at, 1.0, _exp_difference(z, top)) * scale, 0.0)
        grad = grad.to(tl.float32)
        total += tl.sum(tl.where(c < n_classes, grad, 0.0).to(tl.float64), axis=0)
        tl.store(grad_row + c, grad.to(grad_ptr.dtype.element_ty), mask=(c < n_classes) & (c != label))
    if is_class:
        # Of entries that are subnormal each has lost more than their sum may.
        faint = kept & (label == at) & (tl.abs(scale * others) < 2.3e-38 * n_classes)
        entry = tl.where(faint, -scale * others, -total).to(tl.float32)
        tl.store(grad_row + label, entry.to(grad_ptr.dtype.element_ty))


def takes(call: Call) -> bool:
    """Whether the kernels know the call: rows of labels, without weights, smoothing or further terms, to 32 bits."""
    plain = call.weight is None and call.sample_weight is None and not call.smoothing and not call.z_loss
    fits = call.logits.ndim == 2 and call.logits.dtype != torch.float64 and call.reduction != "log-mean"
    return plain and fits and not call.is_soft


def cross_entropy(call: Call) -> Tensor:
    """Return the loss of a call that the kernels take, differentiable once."""
    z = call.logits if call.logits.stride(1) == 1 else call.logits.contiguous()
    label = call.target.to(torch.int64).contiguous()
    losses: Tensor = _Losses.apply(z, label, call.ignore_index)
    return reduced(call, losses, (label != call.ignore_index).to(torch.float32))


class _Losses(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, label: Tensor, ignore_index: int) -> Tensor:
        ctx.save_for_backward(z, label)
        ctx.ignore_index = ignore_index
        losses = torch.empty(len(z), dtype=torch.float32, device=z.device)
        if len(z):
            _forward[(len(z),)](z, label, losses, z.stride(0), z.shape[1], ignore_index, BLOCK=_block_size(z))
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor, None, None]:
        z, label = ctx.saved_tensors
        grad = torch.empty(z.shape, dtype=z.dtype, device=z.device)
        if len(z):
            arguments = z, label, bar.contiguous(), grad, z.stride(0), z.shape[1], ctx.ignore_index
            _backward[(len(z),)](*arguments, BLOCK=_block_size(z))
        return grad, None, None


def _block_size(z: Tensor) -> int:
    return min(_MAX_BLOCK, int(triton.next_power_of_2(z.shape[1])))
