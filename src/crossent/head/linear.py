"""A linear layer and the cross-entropy of its logits, which never exist as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from crossent import arrays
from crossent.arrays import Array, compute_dtype
from crossent.cpu import thread_count
from crossent.errors import invalid_choice, invalid_value
from crossent.head.chunks import HeadInputs, HeadOutputs, run_chunks
from crossent.head.plan import NEEDS, head_plan
from crossent.head.truth import HeadTruth, head_truth
from crossent.loss import REDUCTIONS
from crossent.targets import IGNORE_INDEX, real

# Entries of the softmax gradient, which are at most 1, that "unbiased" keeps as they are.
THRESHOLD = 1.0 / 256


class HeadGrad(NamedTuple):
    """A head's loss and gradients; None for what was not asked for.

    Attributes
    ----------
    loss : scalar, or array of the rows' shape with ``reduction="none"``
        In nats; float32 for 16-bit arrays.
    x_grad, weight_grad, bias_grad : arrays of the shapes and dtypes of x, weight and bias
        Derivatives of ``loss.sum()``.
    target_grad : array or None
        Derivative by the distributions (rows' shape, C), or by the probabilities of a sparse target (rows' shape, k).
    lse : array of the rows' shape or None
        log Σ exp of each row's logits; 0 where a row takes no part.
    accuracy : float or None
        Share of the rows that take part whose largest logit is at the label, or at the most probable class.
    """

    loss: Any
    x_grad: Array | None
    weight_grad: Array | None
    bias_grad: Array | None
    target_grad: Array | None = None
    lse: Array | None = None
    accuracy: float | None = None


def linear_cross_entropy(
    x: object,
    weight: object,
    target: object,
    *,
    bias: object = None,
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
    max_memory: int | str = "64MiB",
    needs: Iterable[str] = NEEDS,
    gradient: str = "exact",
    threshold: float = THRESHOLD,
    seed: int = 0,
    return_lse: bool = False,
    return_accuracy: bool = False,
    return_target_grad: bool = False,
    n_threads: int | None = None,
) -> HeadGrad:
    r"""Return the cross-entropy of a linear layer's logits and its gradients, without holding the logits.

    .. math:: z = s\,x W^\top + b,\qquad L = \sum_c p_c\,(\mathrm{lse}(z) - z_c)

    Chunks of rows are worked on a tile of classes at a time: beside the arrays and their gradients at most
    ``max_memory`` is held, where (N, C) logits, their softmax and its gradient would be. Results have the same bits for
    every ``max_memory`` and ``n_threads``.

    Parameters
    ----------
    x : array (…, D), float16, bfloat16, float32 or float64
        Features. 16-bit arrays are computed in float32: products, sums and the loss.
    weight : array (C, D) of x's dtype
        A row per class. (The weights of classes in the loss are ``class_weight`` here.)
    target : array, or pair of arrays
        Labels (…) in [0, C) or ``ignore_index``; distributions (…, C); or a pair (classes, probabilities) of arrays
        (…, k), the classes of a row all different, for distributions that are 0 elsewhere.
    bias : array (C,), optional
    class_weight, sample_weight, label_smoothing, ignore_index, z_loss, normalizer, reduction, n_threads
        As ``weight`` and the others of :func:`crossent.cross_entropy`. Ignored rows and rows of weight 0 are left out
        before the products: they cost nothing. With ``reduction="none"`` gradients are those of the sum.
    logit_scale : float
        The factor s.
    softcap : float, optional
        Replaces z by ``softcap · tanh(z / softcap)``.
    shift : int
        Holds row t of x's last row axis against target t + shift (the next token: 1), without a copy of x; the last
        ``shift`` rows take no part.
    max_memory : int or str
        Bytes, or a text such as "64MiB"; :func:`crossent.head_plan` shows what comes of it.
    needs : iterable of {"x", "weight"}
        Which gradients to make; ``()`` for the loss alone. The bias has one if the weight has.
    gradient : {"exact", "unbiased"}
        "unbiased" rounds entries of the logits' gradient below ``threshold`` (times the row's weight) at random to 0 or
        the threshold, so that x_grad and weight_grad have the exact expectation and the products behind them few terms.
        The loss and bias_grad stay exact. See ``docs/explanation/head.md`` for the variance.
    threshold : float in (0, 1]
        A row keeps at most 2 / threshold entries in expectation.
    seed : int
        Of "unbiased": with the number of the row and of the class it decides each rounding, whatever the chunks.
    return_lse, return_accuracy, return_target_grad : bool
        Also return these, from the same pass.

    Returns
    -------
    HeadGrad

    Raises
    ------
    TypeError, ValueError
        With the argument, the value and what was expected; a budget too small for one block of rows says how much would
        do.

    Notes
    -----
    The loss is within 4 ulp of the exact one for the logits as the products round them, as in
    :func:`crossent.cross_entropy`; a product of D terms has an error of its own, which is BLAS's.

    References
    ----------
    E. Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", ICLR 2025, section 4, for tiles of
    classes that are never stored.

    Examples
    --------
    >>> import numpy as np
    >>> import crossent
    >>> rng = np.random.default_rng(0)
    >>> x, weight = rng.normal(size=(6, 4)), rng.normal(size=(10, 4))
    >>> labels = np.array([0, 3, 9, -100, 2, 2])
    >>> head = crossent.linear_cross_entropy(x, weight, labels)
    >>> whole = crossent.cross_entropy_and_grad(x @ weight.T, labels)
    >>> bool(np.isclose(head.loss, whole.loss)), bool(np.allclose(head.weight_grad, whole.grad.T @ x))
    (True, True)
    """
    features, rows, classes = checked_layer(x, weight)
    if reduction not in REDUCTIONS:
        raise invalid_choice("reduction", reduction, REDUCTIONS)
    row_shape = features.shape[:-1]
    truth = head_truth(
        target,
        row_shape,
        classes.shape[0],
        classes,
        shift=shift,
        weight=class_weight,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    threads = thread_count(n_threads)
    plan = head_plan(
        truth.count,
        rows.shape[1],
        classes.shape[0],
        dtype=classes.dtype,
        max_memory=max_memory,
        gradient=gradient,
        needs=needs,
        n_threads=threads,
    )
    given = HeadInputs(
        rows,
        classes,
        truth,
        checked_bias(bias, classes),
        _finite("logit_scale", logit_scale),
        None if softcap is None else _positive("softcap", softcap),
        _non_negative("z_loss", z_loss),
        1.0 / head_divisor(truth, normalizer, reduction),
        _fraction("threshold", threshold) if gradient == "unbiased" else 0.0,
        _seed(seed),
        threads,
    )
    out = _outputs(given, plan.needs, bias is not None, return_target_grad)
    run_chunks(given, plan, out)
    return HeadGrad(
        reduced_loss(given, out, row_shape, reduction),
        None if out.x_grad is None else out.x_grad.reshape(features.shape),
        _rounded(out.weight_grad, classes.dtype),
        _rounded(out.bias_grad, None if bias is None else arrays.floating("bias", bias).dtype),
        _target_grad(target, truth, out, row_shape, given.dtype) if return_target_grad else None,
        to_rows(out.lse, truth, row_shape).astype(given.dtype) if return_lse else None,
        accuracy_of(truth, out.leader) if return_accuracy else None,
    )


def checked_layer(x: object, weight: object) -> tuple[Array, Array, Array]:
    """Return x, x as a matrix, and the weight, of one dtype and number of features."""
    features, classes = arrays.floating("x", x), arrays.floating("weight", weight)
    if features.ndim < 1:
        raise ValueError("x has shape (): expected at least an axis of features")
    if classes.ndim != 2 or classes.shape[0] < 1:
        raise ValueError(f"weight has shape {classes.shape}: expected (C, D) with at least one class")
    if classes.shape[1] != features.shape[-1]:
        raise ValueError(
            f"weight has shape {classes.shape}: expected (C, {features.shape[-1]}), as x has shape {features.shape}"
        )
    if classes.dtype != features.dtype:
        raise TypeError(f"weight has dtype {classes.dtype}: expected {features.dtype}, the dtype of x")
    n = int(np.prod(features.shape[:-1], dtype=np.int64))
    return features, features.reshape(n, features.shape[-1]), np.ascontiguousarray(classes)


def checked_bias(bias: object, weight: Array) -> Array | None:
    """Return the bias in the computing type."""
    if bias is None:
        return None
    values = arrays.floating("bias", bias)
    if values.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {values.shape}: expected {weight.shape[:1]}, one for each class")
    return np.ascontiguousarray(values, dtype=compute_dtype(weight))


def head_divisor(truth: HeadTruth, normalizer: float | None, reduction: str) -> float:
    """Return what the summed loss is divided by: 1 unless the reduction is a mean."""
    if normalizer is not None:
        if reduction != "mean":
            raise invalid_value("normalizer", normalizer, f'None with reduction="{reduction}", as only a mean divides')
        return _positive("normalizer", normalizer)
    if reduction != "mean" or truth.count == 0:
        return 1.0
    if truth.denominator > 0:
        return truth.denominator
    if truth.z_weight is not None and np.any(truth.class_weight):
        raise ValueError(
            "class_weight: the labels of all kept rows have weight 0, so that a mean is undefined with "
            'label_smoothing; use reduction="sum" or give a normalizer'
        )
    return 1.0


def reduced_loss(given: HeadInputs, out: HeadOutputs, row_shape: tuple[int, ...], reduction: str) -> Any:
    """Return the loss of all rows, or of each."""
    if reduction == "none":
        return to_rows(out.losses, given.truth, row_shape).astype(given.dtype)[()]
    return given.dtype.type(_exact_sum(out.losses) * given.scale)


def accuracy_of(truth: HeadTruth, leader: Array) -> float:
    """Return the share of rows whose largest logit is at the most probable class; NaN for no rows."""
    if truth.count == 0:
        return float("nan")
    if truth.probs is not None:
        best = np.argmax(truth.probs[truth.given], axis=-1)
    else:
        assert truth.entry_class is not None
        best = truth.entry_class[:, 0]
        if truth.entry_value is not None:
            first = np.argmax(truth.entry_value, axis=-1)
            best = truth.entry_class[np.arange(truth.count), first]
    return float(np.mean(best == leader))


def empty_outputs(truth: HeadTruth) -> HeadOutputs:
    """Return room for the rows' losses and statistics alone."""
    return HeadOutputs(np.empty(truth.count), np.empty(truth.count), np.empty(truth.count, np.int32))


def _outputs(given: HeadInputs, needs: tuple[str, ...], with_bias: bool, with_target: bool) -> HeadOutputs:
    truth, dtype = given.truth, given.dtype
    rows = empty_outputs(truth)
    x_grad = weight_grad = bias_grad = target_grad = None
    if "x" in needs:
        x_grad = zeros_around(given.x.shape, given.x.dtype, truth)
    if "weight" in needs:
        # No row, no product that would fill it.
        make = arrays.empty if truth.count else np.zeros
        weight_grad = make(given.weight.shape, dtype)
        bias_grad = np.zeros(truth.classes) if with_bias else None
    if with_target:
        shape = (truth.count, truth.classes)
        if truth.probs is not None:
            target_grad = np.empty(shape, dtype)
        elif truth.entry_value is not None:
            target_grad = np.empty(truth.entry_value.shape)
        else:
            raise invalid_value("return_target_grad", True, "False with labels, which have no derivative")
    return HeadOutputs(rows.losses, rows.lse, rows.leader, x_grad, weight_grad, bias_grad, target_grad)


def zeros_around(shape: tuple[int, ...], dtype: np.dtype[Any], truth: HeadTruth) -> Array:
    """Return room for x's gradient, zero in the rows that take no part."""
    out = arrays.empty(shape, dtype)
    if isinstance(truth.rows, slice):
        out[: truth.rows.start] = 0
        out[truth.rows.stop :] = 0
    else:
        out[...] = 0
    return out


def to_rows(values: Array, truth: HeadTruth, row_shape: tuple[int, ...]) -> Array:
    """Return values of the rows that take part among those of all rows, 0 for the others."""
    full = np.zeros(int(np.prod(row_shape, dtype=np.int64)))
    full[truth.rows] = values
    return full.reshape(row_shape)


def _target_grad(
    target: Any, truth: HeadTruth, out: HeadOutputs, row_shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    assert out.target_grad is not None
    last = out.target_grad.shape[1]
    given = target[1] if truth.probs is None else target
    full = np.zeros((int(np.prod(row_shape, dtype=np.int64)), last), dtype)
    full[truth.given] = out.target_grad
    return full.reshape(*row_shape, last).astype(arrays.floating("target", given).dtype, copy=False)


def _exact_sum(values: Array) -> float:
    # Pairwise in double: a million rows must not cost the last digits of a float32 loss.
    return float(values.sum())


def _rounded(values: Array | None, dtype: Any) -> Array | None:
    return None if values is None else values.astype(dtype, copy=False)


def _finite(argument: str, value: object) -> float:
    number = real(argument, value)
    if not np.isfinite(number):
        raise invalid_value(argument, value, "a finite number")
    return number


def _positive(argument: str, value: object) -> float:
    number = real(argument, value)
    if not 0 < number < np.inf:
        raise invalid_value(argument, value, "a positive finite number")
    return number


def _non_negative(argument: str, value: object) -> float:
    number = real(argument, value)
    if not 0 <= number < np.inf:
        raise invalid_value(argument, value, "a finite number of at least 0")
    return number


def _fraction(argument: str, value: object) -> float:
    number = real(argument, value)
    if not 0 < number <= 1:
        raise invalid_value(argument, value, "a number in (0, 1]")
    return number


def _seed(value: object) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value.__index__() < 2**64:
        raise invalid_value("seed", value, "an integer in [0, 2**64)")
    return int(value.__index__())
