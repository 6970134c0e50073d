"""The losses under the names and with the arguments that optax has for them."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from crossent.jax import call
from crossent.jax.labels import label_charge
from crossent.jax.maps import charge

Axis = int | tuple[int, ...]


def softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, axis: Axis | None = -1, where: ArrayLike | None = None
) -> Array:
    r"""Return the cross-entropy of softmax(logits) against distributions, per row, in nats: a drop-in for optax's.

    .. math:: L = \sum_c p_c\,(\mathrm{lse}(z) - z_c)

    Parameters
    ----------
    logits : array of floats
        Unnormalised log-probabilities; 16-bit types are computed in float32 and rounded once.
    labels : array that broadcasts with the logits
        Distributions; of any mass. A class without truth contributes exactly 0, at a logit of -inf too.
    axis : int, tuple of int, or None
        The class axis, or axes, whose classes are those of their product; None takes all.
    where : bool array of the rows' shape or of the logits' shape, optional
        Rows, or classes, that take part; the loss of a row without classes is 0.

    Returns
    -------
    array of the rows' shape
        In the dtype of logits and labels, promoted.

    Raises
    ------
    TypeError
        For logits that are not floats.

    See Also
    --------
    cross_entropy : with weights, smoothing, ignored labels and reductions.

    References
    ----------
    The signature is that of ``optax.losses.softmax_cross_entropy`` (optax 0.2.8).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from crossent.jax import softmax_cross_entropy
    >>> print(softmax_cross_entropy(jnp.array([[40.0, 0.0], [0.0, 0.0]]), jnp.array([[1.0, 0.0], [0.5, 0.5]])))
    [4.248354e-18 6.931472e-01]
    """
    z = call.floating("logits", logits)
    p = jnp.asarray(labels)
    out = jnp.promote_types(z.dtype, p.dtype)
    axes = _axes(axis, z.ndim)
    mask = None if where is None else _mask(where, z, axes)
    z, p = jnp.broadcast_arrays(z, p)
    if mask is not None:
        p = jnp.where(mask, p, 0)
    dtype = call.compute_dtype(out)
    return _losses(_rows(z, axes).astype(dtype), _rows(p, axes).astype(dtype), mask, axes).astype(out)


def safe_softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Return the cross-entropy of softmax(logits) against distributions, per row: a drop-in for optax's.

    The same as :func:`softmax_cross_entropy` on the last axis, which is as safe: a logit of -inf with a label of 0
    contributes 0.

    Parameters
    ----------
    logits, labels : array
        As for :func:`softmax_cross_entropy`.

    Returns
    -------
    array of the rows' shape

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from crossent.jax import safe_softmax_cross_entropy
    >>> print(safe_softmax_cross_entropy(jnp.array([-jnp.inf, 0.0]), jnp.array([0.0, 1.0])))
    0.0
    """
    return softmax_cross_entropy(logits, labels)


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike, labels: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    r"""Return the cross-entropy of softmax(logits) against labels, per row, in nats: a drop-in for optax's.

    .. math:: L = \mathrm{lse}(z) - z_y

    Parameters
    ----------
    logits : array of floats
        Unnormalised log-probabilities; 16-bit types are computed in float32 and rounded once.
    labels : integer array of the rows' shape
        Labels in [0, C); with several axes, positions in their product.
    axis : int or tuple of int
        The class axis, or axes.
    where : bool array of the rows' shape or of the logits' shape, optional
        Rows, or classes, that take part; the loss of a row without classes is 0, that of a label whose class takes no
        part is inf.

    Returns
    -------
    array of the rows' shape
        In the logits' dtype. NaN for a label outside [0, C) where it is not known (under ``jit`` or ``vmap``).

    Raises
    ------
    TypeError, ValueError
        For logits that are not floats, labels that are not integers, shapes that do not fit, and a known label outside
        [0, C), which optax lets through.

    References
    ----------
    The signature is that of ``optax.losses.softmax_cross_entropy_with_integer_labels`` (optax 0.2.8).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from crossent.jax import softmax_cross_entropy_with_integer_labels
    >>> print(softmax_cross_entropy_with_integer_labels(jnp.array([[40.0, 0.0]]), jnp.array([0])))
    [4.248354e-18]
    """
    z = call.floating("logits", logits)
    y = jnp.asarray(labels)
    if not call.is_integer(y.dtype):
        raise TypeError(f"labels has dtype {y.dtype}: expected integers")
    if axis is None:
        raise ValueError("axis = None: expected an integer or a tuple of integers")
    axes = _axes(axis, z.ndim)
    mask = None if where is None else _mask(where, z, axes)
    rows = _rows(z, axes).astype(call.compute_dtype(z.dtype))
    classes = rows.shape[-1]
    if y.shape != rows.shape[:-1]:
        y = jnp.broadcast_to(y, rows.shape[:-1])
    call.check_labels(y, classes)
    losses = _losses(rows, y, mask, axes)
    if not call.is_known(y):
        losses = losses * jnp.where((y < 0) | (y >= classes), jnp.nan, 1)
    return losses.astype(z.dtype)


def _axes(axis: Axis | None, ndim: int) -> tuple[int, ...]:
    """Return the class axes, counted from the back, so that leading axes may be added."""
    axes = tuple(range(ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for one in axes:
        if not -ndim <= one < ndim:
            raise ValueError(f"axis {one} is out of bounds for array of dimension {ndim}")
    return tuple(one % ndim - ndim for one in axes)


def _rows(array: Array, axes: tuple[int, ...]) -> Array:
    """Move the class axes to the end and make one of them."""
    moved = jnp.moveaxis(array, axes, range(-len(axes), 0))
    return moved.reshape(*moved.shape[: array.ndim - len(axes)], -1)


def _mask(where: ArrayLike, z: Array, axes: tuple[int, ...]) -> Array:
    mask = jnp.asarray(where)
    if mask.ndim != z.ndim:
        mask = jnp.expand_dims(mask, axes)
    return jnp.broadcast_to(mask, z.shape)


def _losses(z: Array, truth: Array, mask: Array | None, axes: tuple[int, ...]) -> Array:
    if z.shape[-1] == 0:  # As optax: a sum over no class. Its own tests meet it where a random mask keeps none.
        return jnp.zeros(z.shape[:-1], z.dtype)
    if mask is None:
        return _charge(z, truth)
    kept = _rows(mask, axes)
    kept = jnp.broadcast_to(kept, z.shape)
    row_kept = kept.any(axis=-1)
    z = jnp.where(row_kept[..., None], jnp.where(kept, z, -jnp.inf), 0)
    if truth.ndim == z.ndim:
        truth = jnp.where(row_kept[..., None], truth, 0)
    return jnp.where(row_kept, _charge(z, truth), 0)


def _charge(z: Array, truth: Array) -> Array:
    return charge(z, truth) if truth.ndim == z.ndim else label_charge(z, truth)
