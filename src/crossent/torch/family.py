"""The losses of the family, each computed from the accurate loss u = -log q_y and from 1 - q_y = -expm1(-u)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from crossent.errors import invalid_value
from crossent.torch import kernels
from crossent.torch.call import Call, checked_call, is_transformed
from crossent.torch.formulas import Rows, reduced, rows_of
from crossent.torch.softmax_maps import probabilities, surprise


def focal_loss(input: Tensor, target: Tensor, *, gamma: float = 2.0, **options: Any) -> Tensor:
    r"""Return the focal loss :math:`\sum_c p_c (1-q_c)^γ (-\log q_c)`, in nats: well-predicted rows are let go.

    Parameters
    ----------
    input, target
        As for :func:`crossent.torch.cross_entropy`.
    gamma : float
        At least 0; 0 is the cross-entropy.
    **options
        ``weight``, ``ignore_index``, ``reduction``, ``sample_weight`` and ``normalizer``, as for the cross-entropy.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As the cross-entropy does; a ValueError for a parameter out of its range.

    References
    ----------
    T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017, section 3.2.

    Examples
    --------
    >>> focal_loss(torch.zeros(1, 2), torch.tensor([0]))
    tensor(0.1733)
    """
    _at_least("gamma", gamma, 0.0)
    return _charged(input, target, options, lambda u: _rest(u) ** gamma * u if gamma else u)


def poly1_loss(input: Tensor, target: Tensor, *, epsilon: float = 1.0, **options: Any) -> Tensor:
    r"""Return :math:`\sum_c p_c (-\log q_c + ε (1 - q_c))`: the cross-entropy, its series' first term changed.

    Parameters
    ----------
    input, target, **options
        As for :func:`focal_loss`.
    epsilon : float
        At least -1.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As :func:`focal_loss`.

    References
    ----------
    Z. Leng et al., "PolyLoss: a polynomial expansion perspective of classification loss functions", ICLR 2022,
    section 4.

    Examples
    --------
    >>> poly1_loss(torch.zeros(1, 2), torch.tensor([0]))
    tensor(1.1931)
    """
    _at_least("epsilon", epsilon, -1.0)
    return _charged(input, target, options, lambda u: u + epsilon * _rest(u))


def generalized_cross_entropy(input: Tensor, target: Tensor, *, q: float = 0.7, **options: Any) -> Tensor:
    r"""Return :math:`\sum_c p_c (1 - q_c^κ)/κ` with κ = ``q``: between the cross-entropy (κ → 0) and 1 - q_y (κ = 1).

    Parameters
    ----------
    input, target, **options
        As for :func:`focal_loss`.
    q : float
        In (0, 1].

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As :func:`focal_loss`.

    References
    ----------
    Z. Zhang and M. R. Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels",
    NeurIPS 2018, section 3.

    Examples
    --------
    >>> generalized_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), q=1.0)
    tensor(0.5000)
    """
    if not 0 < q <= 1:
        raise invalid_value("q", q, "a number in (0, 1]")
    return _charged(input, target, options, lambda u: _rest(q * u) / q)


def symmetric_cross_entropy(
    input: Tensor, target: Tensor, *, alpha: float = 0.1, beta: float = 1.0, A: float = -4.0, **options: Any
) -> Tensor:
    r"""Return :math:`-α \sum_c p_c \log q_c - β \sum_c q_c \log p_c`, with log 0 = ``A``; for labels that may be wrong.

    For a label it is :math:`α u - βA(1 - q_y)`. Class weights multiply by the label's, distributions take none.

    Parameters
    ----------
    input, target, **options
        As for :func:`focal_loss`. A distribution's log p_c is held to at least ``A``.
    alpha, beta : float
        At least 0.
    A : float
        Below 0.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As :func:`focal_loss`.

    References
    ----------
    Y. Wang et al., "Symmetric cross entropy for robust learning with noisy labels", ICCV 2019, section 4.

    Examples
    --------
    >>> symmetric_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), alpha=0.0)
    tensor(2.)
    """
    _at_least("alpha", alpha, 0.0)
    _at_least("beta", beta, 0.0)
    if not A < 0:
        raise invalid_value("A", A, "a finite number < 0, the value of log 0")
    if not target.is_floating_point():
        return _charged(input, target, options, lambda u: alpha * u - beta * A * _rest(u))
    call = family_call(input, target, options)
    if call.weight is not None:
        raise invalid_value("weight", call.weight, "None with distributions")
    z, rows = rows_of(call)
    p = target.movedim(call.axis, -1).to(z.dtype)
    forward = p * torch.where(p == 0, 0.0, surprise(z))
    backward = probabilities(z) * -p.log().clamp(min=A)
    return family_reduced(call, (alpha * forward + beta * backward).sum(dim=-1), rows)


def label_relaxed_loss(input: Tensor, target: Tensor, *, alpha: float = 0.1, **options: Any) -> Tensor:
    r"""Return KL of the nearest distribution that leaves at least 1 - α to the label: 0 where the prediction does.

    .. math:: L = (1-α)\log\frac{1-α}{q_y} + α\log\frac{α}{1-q_y}\quad\text{if } q_y < 1-α,\text{ else } 0

    Parameters
    ----------
    input, target, **options
        As for :func:`focal_loss`; labels only.
    alpha : float
        In (0, 1): the mass that the label may lack.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As :func:`focal_loss`.

    References
    ----------
    J. Lienen and E. Hüllermeier, "From label smoothing to label relaxation", AAAI 2021, section 3.

    Examples
    --------
    >>> label_relaxed_loss(torch.tensor([[0.0, 0.0], [5.0, 0.0]]), torch.tensor([0, 0]), reduction="none")
    tensor([0.3681, 0.0000])
    """
    if not 0 < alpha < 1:
        raise invalid_value("alpha", alpha, "a number in (0, 1)")
    _labels_only(target)
    relaxed = torch.tensor(1.0 - alpha, dtype=torch.float64).log().item()

    def loss(u: Tensor) -> Tensor:
        beyond = u > -relaxed
        # Where the loss is 0 its formula must not meet 1 - q_y = 0.
        away = torch.where(beyond, u, 1.0)
        value = (1.0 - alpha) * (relaxed + away) + alpha * (torch.log(_rest(away) / alpha).neg())
        return torch.where(beyond, value, 0.0)

    return _charged(input, target, options, loss)


def logit_adjusted_loss(
    input: Tensor, target: Tensor, class_prior: Tensor, *, tau: float = 1.0, **options: Any
) -> Tensor:
    r"""Return the cross-entropy of :math:`z_c + τ \log π_c`: for classes that are rarer in training than they will be.

    Parameters
    ----------
    input, target
        As for :func:`crossent.torch.cross_entropy`.
    class_prior : Tensor (C)
        Frequencies π of the classes in training, positive; counts do as well.
    tau : float
        1 for the balanced error.
    **options
        Those of :func:`crossent.torch.cross_entropy`.

    Raises
    ------
    RuntimeError, ValueError, IndexError
        As the cross-entropy does; a ValueError for a prior of another shape.

    References
    ----------
    A. K. Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 5.

    Examples
    --------
    >>> logit_adjusted_loss(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([0.9, 0.1]))
    tensor(2.3026)
    """
    from crossent.torch.losses import cross_entropy

    axis = min(1, input.ndim - 1)
    if class_prior.shape != input.shape[axis : axis + 1]:
        expected = f"({input.shape[axis]},), one for each class"
        raise ValueError(f"class_prior has shape {tuple(class_prior.shape)}: expected {expected}")
    shift = tau * class_prior.log().to(input.dtype)
    shape = [1] * input.ndim
    shape[axis] = -1
    result: Tensor = cross_entropy(input + shift.view(shape), target, **options)
    return result


def _charged(input: Tensor, target: Tensor, options: dict[str, Any], charge: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the reduced loss Σ p_c · charge(-log q_c)."""
    call = family_call(input, target, options)
    z, rows = rows_of(call)
    u = surprise(z)
    if rows.label is not None:
        u = u.gather(-1, rows.label.unsqueeze(-1)).squeeze(-1)
        return family_reduced(call, rows.of_label * charge(u), rows)
    p = target.movedim(call.axis, -1).to(z.dtype)
    p = p if rows.class_weight is None else p * rows.class_weight
    return family_reduced(call, (p * charge(torch.where(p == 0, 0.0, u))).sum(dim=-1), rows)


def family_call(input: Tensor, target: Tensor, options: dict[str, Any]) -> Call:
    """Return the checked call of a loss that has the cross-entropy's options but smoothing and z-loss."""
    known = {"weight": None, "ignore_index": -100, "reduction": "mean", "sample_weight": None, "normalizer": None}
    unknown = options.keys() - known.keys()
    if unknown:
        raise TypeError(f"unexpected option {sorted(unknown)[0]!r}: expected {', '.join(known)}")
    o = known | options
    if o["reduction"] == "log-mean":
        raise invalid_value("reduction", "log-mean", "'mean', 'sum' or 'none'")
    call = checked_call(
        input, target, o["weight"], o["ignore_index"], o["reduction"], 0.0, o["sample_weight"], o["normalizer"]
    )
    if input.device.type == "cpu" and not (torch.compiler.is_compiling() or is_transformed()):
        kernels.check_labels(call)
    return call


def family_reduced(call: Call, losses: Tensor, rows: Rows) -> Tensor:
    """Return the losses of the rows with their weights, reduced."""
    if rows.take_part is not None:
        losses = torch.where(rows.take_part, losses, 0.0)
    if call.sample_weight is not None:
        losses = losses * call.sample_weight.to(losses.dtype)
    return reduced(call, losses, rows.weight)


def _rest(u: Tensor) -> Tensor:
    """Return 1 - q for u = -log q, accurate relative to itself, and so is its derivative q."""
    # torch takes expm1(-u) + 1 for the derivative of expm1, which is 0 from u = 37 on (in float64).
    return torch.where(u > 1.0, 1.0 - torch.exp(-u), -torch.expm1(-u))


def _at_least(argument: str, value: float, low: float) -> None:
    if not low <= value < float("inf"):
        raise invalid_value(argument, value, f"a finite number >= {low:g}")


def _labels_only(target: Tensor) -> None:
    if target.is_floating_point():
        raise TypeError(f"target has dtype {target.dtype}: expected labels, as integers")
