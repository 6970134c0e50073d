"""Cross-entropy for JAX, with the options of :func:`crossent.cross_entropy`."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from crossent.errors import invalid_type, invalid_value
from crossent.jax import call
from crossent.jax.labels import label_charge
from crossent.jax.maps import charge, log_sum_exp, total
from crossent.targets import IGNORE_INDEX


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: Any = 0.0,
    ignore_index: int = IGNORE_INDEX,
    z_loss: Any = 0.0,
    normalizer: Any = None,
    reduction: str = "mean",
    axis: int = -1,
) -> Array:
    r"""Return the cross-entropy of softmax(logits) against the truth, in nats.

    .. math:: L = \sum_c p_c\,(\mathrm{lse}(z) - z_c),\qquad \frac{\partial L}{\partial z_c} = P\,q_c - p_c

    The arguments and results of :func:`crossent.cross_entropy`, for JAX: under ``jit``, ``vmap``, ``grad``, ``jvp``,
    ``hessian`` and any composition of them, on any device. Loss and gradient keep their leading digits at every margin
    that the dtype can express.

    Parameters
    ----------
    logits : array of shape (C,), (N, C) or (N, C, d1, …), float16, bfloat16, float32 or float64
        Unnormalised log-probabilities. A class at -inf takes no part; 16-bit types are computed in float32 and rounded
        once.
    target : array
        Integers of the logits' shape without the class axis: labels in [0, C) or ``ignore_index``. Or floats of the
        logits' shape: a distribution per row, non-negative, of any mass.
    weight : array (C,), optional
        Class weights: :math:`p_c` is multiplied by :math:`w_c`.
    sample_weight : array of the rows' shape, optional
        Multiplies each row's loss. A row of weight 0 contributes exactly nothing, whatever its logits.
    label_smoothing : float in [0, 1]
        :math:`p_c` becomes :math:`(1-ε)p_c + ε/C`, before the class weights.
    ignore_index : int
        Rows with this label have loss 0 and gradient 0, whatever their logits.
    z_loss : float
        Adds ``z_loss · lse²`` to each row, before the row's weight (for labels: times the label's class weight).
    normalizer : float, optional
        With ``reduction="mean"``, the denominator to use instead of the summed weights.
    reduction : {"mean", "sum", "none"}
        The mean divides by the summed weight of the kept rows, and is 0 when no row is kept.
    axis : int
        The class axis.

    Returns
    -------
    array of the logits' dtype
        A scalar, or of the rows' shape with ``reduction="none"``. NaN for a row with NaN logits or none above -inf,
        inf for a truth at -inf. Where labels are not known when the call is traced (under ``jit`` or ``vmap``), a label
        outside [0, C) cannot be an error: its row's loss and gradient are NaN.

    Raises
    ------
    TypeError, ValueError
        With the argument, the value and what was expected. Values are checked where they are known, shapes and dtypes
        always.

    Notes
    -----
    XLA replaces subnormal results by 0 on the CPU: the promise ends at the dtype's smallest normal number.

    References
    ----------
    The formulas are those of :func:`crossent.cross_entropy`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from crossent.jax import cross_entropy
    >>> loss, grad = jax.jit(jax.value_and_grad(cross_entropy))(jnp.array([[40.0, 0.0]]), jnp.array([0]))
    >>> print(f"{loss:.4e}", grad)
    4.2484e-18 [[-4.248354e-18  4.248354e-18]]
    """
    call.check_reduction(reduction, normalizer)
    z = call.floating("logits", logits)
    place = call.class_axis(axis, z)
    dtype = call.compute_dtype(z.dtype)
    rows = _rows(
        z.astype(dtype),
        place,
        jnp.asarray(target),
        None if weight is None else call.weights("weight", weight, (z.shape[place],), "the classes of logits", dtype),
        sample_weight,
        call.number("label_smoothing", label_smoothing, 0, 1, "a number in [0, 1]"),
        _integer("ignore_index", ignore_index),
    )
    losses = _row_losses(rows, call.number("z_loss", z_loss, 0, np.inf, "a finite number of at least 0"))
    if reduction == "none":
        return losses.astype(z.dtype)
    summed = total(losses.reshape(-1))
    if reduction == "mean":
        summed = summed / _denominator(rows, normalizer)
    return summed.astype(z.dtype)


class _Rows(NamedTuple):
    logits: Array  # (..., C); 0 in rows that take no part, which may hold NaN
    truth: Array  # (..., C), or labels (...) that are the whole truth but for their weights
    take_part: Array  # (...), bool
    label_weight: Array  # (...), what the label's class counts for in a mean, and in the z-loss
    sample_weight: Array  # (...)
    wrong: Array | None  # (...), bool: labels outside [0, C), where they could not be refused


def _rows(
    z: Array,
    axis: int,
    target: Array,
    weight: Array | None,
    sample_weight: ArrayLike | None,
    smoothing: Any,
    ignored: int,
) -> _Rows:
    shape, (classes, dtype) = z.shape, (z.shape[axis], z.dtype)
    z = jnp.moveaxis(z, axis, -1)
    row_shape = z.shape[:-1]
    wrong, whole = None, call.is_known(smoothing) and smoothing == 0
    of_label = jnp.ones(row_shape, dtype)
    if call.is_integer(target.dtype):
        if target.shape != row_shape:
            raise ValueError(
                f"target has shape {target.shape}: expected {row_shape}, the shape of logits without its class axis"
            )
        call.check_labels(target, classes, ignored)
        take_part = target != ignored
        valid = take_part & (target >= 0) & (target < classes)
        if not call.is_known(target):
            wrong = take_part & ~valid
        label = jnp.where(valid, target, 0)
        if weight is not None:
            of_label = jnp.where(valid, weight[label], 0)
        if whole:
            take_part = take_part & (of_label > 0) if wrong is None else take_part & ((of_label > 0) | wrong)
            return _taking_part(z, label, take_part, of_label, sample_weight, wrong)
        p = ((target[..., None] == jnp.arange(classes)) & take_part[..., None]).astype(dtype)
    else:
        p = jnp.moveaxis(_distributions(target, shape, ignored).astype(dtype), axis, -1)
        take_part = jnp.ones(row_shape, bool)
    if not whole:
        p = p * (1 - smoothing) + smoothing / classes
    if weight is not None:
        p = p * weight
    # A row whose truth has no weight takes no part.
    take_part = take_part & (p > 0).any(axis=-1) if wrong is None else take_part & ((p > 0).any(axis=-1) | wrong)
    return _taking_part(z, p, take_part, of_label, sample_weight, wrong)


def _taking_part(
    z: Array,
    truth: Array,
    take_part: Array,
    of_label: Array,
    sample_weight: ArrayLike | None,
    wrong: Array | None,
) -> _Rows:
    rows = jnp.ones(take_part.shape, z.dtype)
    if sample_weight is not None:
        rows = call.weights("sample_weight", sample_weight, take_part.shape, "the rows of logits", z.dtype)
        take_part = take_part & (rows > 0)
    return _Rows(jnp.where(take_part[..., None], z, 0), truth, take_part, of_label, rows, wrong)


def _row_losses(rows: _Rows, z_loss: Any) -> Array:
    if rows.truth.ndim < rows.logits.ndim:
        losses = rows.label_weight * label_charge(rows.logits, rows.truth)
    else:
        losses = charge(rows.logits, rows.truth)
    if not call.is_known(z_loss) or z_loss > 0:
        losses = losses + z_loss * rows.label_weight * log_sum_exp(rows.logits) ** 2
    if rows.wrong is not None:
        losses = losses * jnp.where(rows.wrong, jnp.nan, 1)
    return jnp.where(rows.take_part, losses, 0) * rows.sample_weight


def _denominator(rows: _Rows, normalizer: Any) -> Any:
    if normalizer is not None:
        tiny = np.nextafter(0.0, 1.0)
        return call.number("normalizer", normalizer, tiny, np.inf, "a positive finite number")
    counted = jnp.where(rows.take_part, rows.label_weight * rows.sample_weight, 0)
    weight = total(counted.reshape(-1))
    # Smoothing keeps rows whose label has weight 0: where there are only those, a mean is not defined.
    return jnp.where(weight > 0, weight, jnp.where(rows.take_part.any(), jnp.nan, 1))


def _distributions(target: Array, shape: tuple[int, ...], ignored: int) -> Array:
    if target.dtype.name not in call.FLOATS:
        raise TypeError(f"target has dtype {target.dtype}: expected integers (labels) or floats (distributions)")
    if target.shape != shape:
        expected = f"{shape}, the shape of logits, for distributions (labels are integers)"
        raise ValueError(f"target has shape {target.shape}: expected {expected}")
    if ignored >= 0:
        raise invalid_value("ignore_index", ignored, "a negative number with distributions, which have no label")
    call.check_non_negative("target", target)
    return target


def _integer(argument: str, value: object) -> int:
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise invalid_type(argument, value, "an integer")
    return int(value.__index__())
