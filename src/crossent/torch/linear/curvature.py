"""Products with a head's Gauss–Newton matrix, a few rows at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossent.errors import invalid_value
from crossent.torch import formulas
from crossent.torch.formulas import Rows
from crossent.torch.linear.call import HeadCall, head_call
from crossent.torch.linear.chunks import Chunked, Tensors, apply, push
from crossent.torch.linear.plan import rows_of_chunk
from crossent.torch.linear.results import check_labels, denominator_of
from crossent.torch.linear.rows import Inputs, dense, logits, taking_part


def gauss_newton_product(
    input: Tensor,
    linear_weight: Tensor,
    target: Any,
    vectors: tuple[Tensor | None, Tensor | None, Tensor | None],
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    sample_weight: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    z_loss: float = 0.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    max_memory: int | str = "64MiB",
) -> tuple[Tensor | None, ...]:
    r"""Return the product of a head's Gauss–Newton matrix with a vector, chunk by chunk.

    .. math:: G v = J^T\,\frac{\partial^2 L}{\partial z^2}\,J v,\qquad
              \frac{\partial^2 L}{\partial z^2} = P\,(\mathrm{diag}(q) - q q^T)

    with J the derivative of the logits z in (input, linear_weight, linear_bias). The middle does not know the labels:
    without z-loss, G is the Fisher matrix of the softmax, the covariance of the gradient over labels that it draws
    itself. It is positive semidefinite, which the Hessian in input and weights together is not.

    Parameters
    ----------
    vectors : (Tensor or None, Tensor or None, Tensor or None)
        v: what goes with input, linear_weight and linear_bias, of their shapes. None is left out: 0, not asked for.
    reduction : "mean" or "sum"
    input, linear_weight, target, and the other options
        As for :func:`linear_cross_entropy`.

    Returns
    -------
    tuple of Tensor or None
        G v in the same three parts, in the dtype of the input.

    Raises
    ------
    ValueError
        A vector of another shape, a vector for a bias that is not there, or no vector at all.

    References
    ----------
    J. Martens, "New Insights and Perspectives on the Natural Gradient Method", 2020, sections 8 and 9.

    Examples
    --------
    >>> import torch
    >>> from crossent.torch import gauss_newton_product
    >>> x, weight = torch.tensor([[2.0]]), torch.zeros(2, 1)
    >>> gauss_newton_product(x, weight, torch.tensor([0]), (None, torch.tensor([[1.0], [0.0]]), None))[1]
    tensor([[ 1.],
            [-1.]])
    """
    if reduction not in ("mean", "sum"):
        raise invalid_value("reduction", reduction, "'mean' or 'sum', as a curvature is one loss's")
    _check(vectors, (input, linear_weight, linear_bias))
    call = head_call(
        input,
        linear_weight,
        target,
        linear_bias,
        weight=weight,
        reduction=reduction,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        sample_weight=sample_weight,
        normalizer=normalizer,
        z_loss=z_loss,
        logit_scale=logit_scale,
        softcap=softcap,
        max_memory=max_memory,
    )
    if call.x.device.type == "cpu":
        check_labels(call)
    given = tuple(
        v if v is None or t is None else v.to(call.compute_dtype).reshape(t.shape)
        for v, t in zip(vectors, (call.x, call.linear_weight, call.linear_bias), strict=True)
    )
    answers = iter(_product(call, given))
    like = (input, linear_weight, linear_bias)
    return tuple(
        None if v is None or t is None else next(answers).reshape(t.shape).to(t.dtype)
        for v, t in zip(vectors, like, strict=True)
    )


def _check(vectors: tuple[Tensor | None, ...], tensors: tuple[Tensor | None, ...]) -> None:
    if len(vectors) != 3 or all(v is None for v in vectors):
        raise ValueError("vectors: expected three, for input, linear_weight and linear_bias, of which two may be None")
    for i, (vector, tensor) in enumerate(zip(vectors, tensors, strict=True)):
        if vector is not None and (tensor is None or vector.shape != tensor.shape):
            expected = "None, as there is no linear_bias" if tensor is None else f"{tuple(tensor.shape)}"
            raise ValueError(f"vectors[{i}] has shape {tuple(vector.shape)}: expected {expected}")


def _product(call: HeadCall, vectors: tuple[Tensor | None, ...]) -> Tensors:
    call = taking_part(call)
    inputs = Inputs(call)
    rows, given = len(inputs.by_row), len(inputs.by_row) + len(inputs.shared)
    # Where the three are among the arguments: the first that has rows, and the first of the shared ones.
    at = [i for i, v in zip((0, rows, rows + 1), vectors, strict=True) if v is not None]
    along = tuple(v for v in vectors if v is not None)
    of_rows = int(vectors[0] is not None)

    def of_chunk(*tensors: Tensor) -> Tensors:
        arguments = (*tensors[:rows], *tensors[rows + of_rows : given + of_rows])
        v = (*tensors[rows : rows + of_rows], *tensors[given + of_rows :])

        def z_of(*some: Tensor) -> Tensors:
            moved = list(arguments)
            for i, tensor in zip(at, some, strict=True):
                moved[i] = tensor
            return (logits(inputs.chunk(tuple(moved))),)

        chunk = inputs.chunk(arguments)
        where = tuple(arguments[i] for i in at)
        (z,), back = torch.func.vjp(z_of, *where)[:2]
        slope = torch.func.grad(lambda z: formulas.cross_entropy(dense(chunk, z)).sum())
        # Symmetric: its pull is its push.
        curved = torch.func.vjp(slope, z)[1](*push(z_of, where, v))
        products: Tensors = back(curved)
        return products

    chunked = Chunked(of_chunk, rows + of_rows, of_rows, rows_of_chunk(call))
    products = apply(chunked, *inputs.by_row, *along[:of_rows], *inputs.shared, *along[of_rows:])
    denominator = denominator_of(call.loss, Rows(call.loss, torch.float64))
    return tuple(t / denominator for t in products)
