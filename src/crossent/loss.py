"""Cross-entropy of logits, and its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crossent import _native, arrays
from crossent.arrays import Array
from crossent.conventions import convention_named
from crossent.cpu import thread_count
from crossent.errors import invalid_choice, invalid_type, invalid_value
from crossent.targets import IGNORE_INDEX, Truth, real, truth_of

REDUCTIONS = ("mean", "sum", "none")


class LossGrad(NamedTuple):
    """A loss and its gradient.

    Attributes
    ----------
    loss : scalar, or array of the rows' shape with ``reduction="none"``
        In nats.
    grad : array of the logits' shape and dtype
        Derivative of ``loss.sum()`` with respect to the logits.
    """

    loss: Any
    grad: Array


def cross_entropy(
    logits: object,
    target: object,
    *,
    weight: object = None,
    sample_weight: object = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    z_loss: float = 0.0,
    normalizer: float | None = None,
    reduction: str = "mean",
    axis: int = -1,
    convention: str = "torch",
    n_threads: int | None = None,
) -> Any:
    r"""Return the cross-entropy of softmax(logits) against the truth, in nats.

    For a row with logits :math:`z` and truth :math:`p`,

    .. math:: L = \sum_c p_c\,(\mathrm{lse}(z) - z_c),\qquad \mathrm{lse}(z) = \log\sum_c e^{z_c}

    computed so that a confident row keeps its loss: for labels within 4 ulp of the exact value for the given logits,
    at every margin that the dtype can express, where the textbook form returns 0.

    Parameters
    ----------
    logits : array of shape (C,), (N, C) or (N, C, d1, …), float16, bfloat16, float32 or float64
        Unnormalised log-probabilities. A class at -inf takes no part. NumPy arrays and anything with DLPack or the
        buffer protocol, of any strides; 16-bit types are computed in float32 and rounded once.
    target : array
        Integers of the logits' shape without the class axis: labels in [0, C) or ``ignore_index``. Or floats of the
        logits' shape: a distribution per row, non-negative, of any mass.
    weight : array (C,), optional
        Class weights, non-negative: :math:`p_c` is multiplied by :math:`w_c`.
    sample_weight : array of the rows' shape, optional
        Row weights, non-negative: the row's loss is multiplied by its weight. A row of weight 0 contributes exactly
        nothing, whatever its logits.
    label_smoothing : float in [0, 1]
        :math:`p_c` becomes :math:`(1-ε)p_c + ε/C`, before the class weights.
    ignore_index : int
        Rows with this label have loss 0 and gradient 0, whatever their logits.
    z_loss : float
        Adds ``z_loss · lse²`` to each row, before the row's weight (for labels: times the label's class weight).
    normalizer : float, optional
        With ``reduction="mean"``, the denominator to use instead of the summed weights; for gradient accumulation.
    reduction : {"mean", "sum", "none"}
        The mean divides by the summed weight of the kept rows: for labels ``sample_weight · weight[label]``, for
        distributions ``sample_weight``. It is 0 when no row is kept.
    axis : int
        The class axis of the logits (and of distributions): 1 for PyTorch's (N, C, d1, …).
    convention : {"torch", "keras", "optax", "onnx", "megatron"}
        Whose smoothing, class weights and mean: what is said of them here is PyTorch's, and
        ``docs/explanation/conventions.md`` has the differences.
    n_threads : int, optional
        By default OpenMP's (``OMP_NUM_THREADS``). The result has the same bits for every number.

    Returns
    -------
    scalar of the logits' dtype, or array of the rows' shape with ``reduction="none"``
        NaN for a row with NaN logits or none above -inf, inf for a truth at -inf.

    Raises
    ------
    TypeError, ValueError
        With the argument, the value and what was expected: a label outside [0, C), wrong shapes or dtypes, negative or
        NaN weights, a smoothing outside [0, 1], a distribution with a negative entry.

    See Also
    --------
    cross_entropy_and_grad : also the gradient, for less than twice the time.

    Notes
    -----
    Accuracy is checked against 60-digit arithmetic by ``make accuracy``.

    References
    ----------
    P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA
    Journal of Numerical Analysis 41 (2021), section 3, for the parts; the composition is explained in
    ``docs/explanation/numerics.md``.

    Examples
    --------
    >>> import numpy as np
    >>> from crossent import cross_entropy
    >>> cross_entropy(np.array([[2.0, 0.5, -1.0]]), np.array([0]))
    np.float64(0.2413112966571...)

    A confident row still has a loss:

    >>> cross_entropy(np.array([[40.0, 0.0]], np.float32), np.array([0]))
    np.float32(4.248354e-18)
    """
    loss, _ = _evaluate(
        logits,
        target,
        {
            "weight": weight,
            "sample_weight": sample_weight,
            "label_smoothing": label_smoothing,
            "ignore_index": ignore_index,
            "convention": convention_named(convention),
        },
        z_loss=z_loss,
        normalizer=normalizer,
        reduction=reduction,
        axis=axis,
        n_threads=n_threads,
        grad=_NO_GRAD,
    )
    return loss


def cross_entropy_and_grad(
    logits: object,
    target: object,
    *,
    weight: object = None,
    sample_weight: object = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    z_loss: float = 0.0,
    normalizer: float | None = None,
    reduction: str = "mean",
    axis: int = -1,
    convention: str = "torch",
    n_threads: int | None = None,
    out: Array | None = None,
) -> LossGrad:
    r"""Return the cross-entropy and its gradient with respect to the logits.

    .. math:: \frac{\partial L}{\partial z_c} = P\,q_c - p_c,\qquad q = \mathrm{softmax}(z),\; P = \sum_c p_c

    The entry of the label, where ``q - 1`` would cancel, is minus the sum of the others: within 5 ulp of the exact
    value, the others within 8, and a row's entries sum to zero within 1 ulp of the largest.

    Parameters
    ----------
    logits, target, weight, sample_weight, label_smoothing, ignore_index, z_loss, normalizer, reduction, axis
        As for :func:`cross_entropy`.
    convention, n_threads
        Likewise.
    out : array of the logits' shape and dtype, optional
        Where to write the gradient. It may be the logits themselves, which are then overwritten: no memory is needed
        beyond them.

    Returns
    -------
    LossGrad
        ``loss`` as :func:`cross_entropy` returns it, and ``grad``, the derivative of ``loss.sum()``: it holds the
        factor 1/denominator of a mean. Ignored rows and rows of weight 0 are exactly 0.

    Raises
    ------
    TypeError, ValueError
        As for :func:`cross_entropy`; and for an ``out`` of another shape or dtype, or read-only.

    Examples
    --------
    >>> import numpy as np
    >>> from crossent import cross_entropy_and_grad
    >>> logits = np.array([[30.0, 0.0, 0.0], [0.0, 1.0, 2.0]], np.float32)
    >>> loss, grad = cross_entropy_and_grad(logits, np.array([0, 0]), reduction="sum")
    >>> grad[0]
    array([-1.8715246e-13,  9.3576229e-14,  9.3576229e-14], dtype=float32)

    In place, for large logits:

    >>> loss, grad = cross_entropy_and_grad(logits, np.array([0, 0]), out=logits)
    >>> grad is logits
    True
    """
    loss, grad = _evaluate(
        logits,
        target,
        {
            "weight": weight,
            "sample_weight": sample_weight,
            "label_smoothing": label_smoothing,
            "ignore_index": ignore_index,
            "convention": convention_named(convention),
        },
        z_loss=z_loss,
        normalizer=normalizer,
        reduction=reduction,
        axis=axis,
        n_threads=n_threads,
        grad=out,
    )
    assert grad is not None
    return LossGrad(loss, grad)


class _NoGrad:
    """Stands for "no gradient", where None stands for "a gradient in a new array"."""


_NO_GRAD = _NoGrad()


def _evaluate(
    logits: object,
    target: object,
    truth_options: dict[str, Any],
    *,
    z_loss: float,
    normalizer: float | None,
    reduction: str,
    axis: int,
    n_threads: int | None,
    grad: Array | _NoGrad | None,
) -> tuple[Any, Array | None]:
    z = arrays.floating("logits", logits)
    axis = class_axis(z.shape, axis)
    if reduction not in REDUCTIONS:
        raise invalid_choice("reduction", reduction, REDUCTIONS)
    z_factor = real("z_loss", z_loss)
    if not 0 <= z_factor < np.inf:
        raise invalid_value("z_loss", z_loss, "a finite number of at least 0")
    truth = truth_of(target, z.shape, axis, z, **truth_options)
    scale = 1 / divisor(truth, normalizer, reduction)
    out = None
    if not isinstance(grad, _NoGrad):
        out = arrays.empty(z.shape, z.dtype) if grad is None else _checked_out(grad, z)
    each = reduction == "none"
    total, losses = run(z, axis, truth, scale=scale, z_loss=z_factor, each=each, out=out, n_threads=n_threads)
    if losses is not None:
        return losses[()], out
    with np.errstate(over="ignore"):  # a sum beyond float16's range is inf, not a warning
        return z.dtype.type(total * scale), out


def run(
    z: Array,
    axis: int,
    truth: Truth,
    *,
    scale: float,
    z_loss: float,
    each: bool,
    out: Array | None,
    n_threads: int | None,
) -> tuple[float, Array | None]:
    """Return the summed loss, not scaled, and the rows' own if ``each``; write the scaled gradient to ``out``.

    ``out`` has the logits' shape and dtype, and may be the logits themselves.
    """
    rows = arrays.as_rows(z, axis)
    losses = np.empty(rows.shape[0], z.dtype) if each else None
    grad_rows = None if out is None else _rows_to_write(out, axis, z, rows, (truth.probs, truth.row_weight))
    total = _run_kernel(rows, truth, scale, z_loss, losses, grad_rows, thread_count(n_threads))
    if out is not None and grad_rows is not None and not np.may_share_memory(out, grad_rows):
        moved = np.moveaxis(out, axis, -1)
        moved[...] = grad_rows.reshape(moved.shape)
    return total, None if losses is None else losses.reshape(z.shape[:axis] + z.shape[axis + 1 :])


def _run_kernel(
    rows: Array,
    truth: Truth,
    scale: float,
    z_loss: float,
    losses: Array | None,
    grad: Array | None,
    n_threads: int,
) -> float:
    storage = arrays.storage_of(rows)
    z = arrays.bits(rows)
    loss_out = None if losses is None else arrays.bits(losses)
    grad_out = None if grad is None else arrays.bits(grad)
    if truth.is_label:
        assert truth.labels is not None
        return _native.label_loss(
            storage, z, truth.labels, truth.row_weight, scale, z_loss, loss_out, grad_out, n_threads
        )
    probs, wide = truth.probs, False
    if probs is not None:
        wide = probs.dtype != rows.dtype
        probs = probs if wide else arrays.bits(probs)
    return _native.distribution_loss(
        storage,
        z,
        truth.labels,
        probs,
        wide,
        truth.class_weight,
        truth.smoothing,
        truth.row_weight,
        scale,
        z_loss,
        truth.z_weight,
        loss_out,
        grad_out,
        n_threads,
    )


def class_axis(shape: tuple[int, ...], axis: int, name: str = "logits") -> int:
    """Return the class axis counted from the front; an error where there is none or it is empty."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise invalid_type("axis", axis, "an integer")
    if not shape:
        raise ValueError(f"{name} has shape (): expected at least a class axis")
    if not -len(shape) <= axis < len(shape):
        raise invalid_value("axis", axis, f"a number in [{-len(shape)}, {len(shape)}) for an array of shape {shape}")
    place = int(axis) % len(shape)
    if shape[place] == 0:
        raise ValueError(f"{name} has shape {shape}: expected at least one class on axis {axis}")
    return place


def divisor(truth: Truth, normalizer: float | None, reduction: str) -> float:
    """Return what the summed loss is divided by: 1 unless the reduction is a mean."""
    if normalizer is not None:
        if reduction != "mean":
            raise invalid_value("normalizer", normalizer, f'None with reduction="{reduction}", as only a mean divides')
        value = real("normalizer", normalizer)
        if not 0 < value < np.inf:
            raise invalid_value("normalizer", normalizer, "a positive finite number")
        return value
    if reduction != "mean":
        return 1.0
    if truth.denominator > 0:
        return truth.denominator
    if truth.z_weight is not None and np.any(truth.class_weight) and _any_row(truth):
        raise ValueError(
            "weight: the labels of all kept rows have weight 0, so that a mean is undefined with label_smoothing; "
            'use reduction="sum" or give a normalizer'
        )
    return 1.0  # no row contributes anything: the mean is 0


def _any_row(truth: Truth) -> bool:
    assert truth.labels is not None
    kept = truth.labels >= 0
    return bool(np.any(kept if truth.row_weight is None else kept & (truth.row_weight > 0)))


def _checked_out(out: object, z: Array) -> Array:
    if not isinstance(out, np.ndarray):
        raise invalid_type("out", out, "a NumPy array")
    if out.shape != z.shape or out.dtype != z.dtype:
        raise ValueError(f"out has shape {out.shape}, dtype {out.dtype}: expected {z.shape}, {z.dtype}")
    if not out.flags.writeable:
        raise ValueError("out is read-only: expected an array that can be written")
    return out


def _rows_to_write(out: Array, axis: int, z: Array, rows: Array, inputs: tuple[Array | None, ...]) -> Array:
    """Return the rows the kernel writes: ``out`` itself unless its layout or an overlap with an input forbids it."""
    direct = arrays.as_rows(out, axis)
    # Asked in this order because a new array shares nothing: the rest costs microseconds.
    overlaps = (np.may_share_memory(out, rows) and not (_same_memory(out, z) and np.may_share_memory(rows, z))) or any(
        other is not None and np.may_share_memory(out, other) for other in inputs
    )
    if overlaps or not np.may_share_memory(direct, out):
        return np.empty(rows.shape, rows.dtype)
    return direct


def _same_memory(a: Array, b: Array) -> bool:
    return a is b or (a.ctypes.data == b.ctypes.data and a.strides == b.strides and a.shape == b.shape)
