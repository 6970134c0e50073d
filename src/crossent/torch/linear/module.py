"""The head as a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from crossent.head.linear import THRESHOLD
from crossent.torch.linear.head import linear_cross_entropy


class LinearCrossEntropyLoss(nn.LinearCrossEntropyLoss):
    """A linear layer and its cross-entropy as a module: a drop-in for :class:`torch.nn.LinearCrossEntropyLoss`.

    Parameters
    ----------
    in_features, num_classes, out_features, bias, device, dtype
        As PyTorch's.
    reduction, weight, ignore_index, label_smoothing, options
        As PyTorch's; its state dict is the same.
    z_loss, logit_scale, softcap, shift, max_memory, return_lse, return_accuracy, gradient, threshold, generator
        As for :func:`linear_cross_entropy`. ``sample_weight`` and ``normalizer`` go with the batch: they are arguments
        of the call.

    Examples
    --------
    >>> import torch
    >>> from crossent.torch import LinearCrossEntropyLoss
    >>> head = LinearCrossEntropyLoss(8, 1000, bias=True)
    >>> loss = head(torch.randn(32, 8), torch.randint(1000, (32,)))
    >>> loss.backward()
    >>> head.linear.weight.grad.shape
    torch.Size([1000, 8])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: nn.LinearCrossEntropyOptions | None = None,
        z_loss: float = 0.0,
        logit_scale: float = 1.0,
        softcap: float | None = None,
        shift: int = 0,
        max_memory: int | str = "64MiB",
        return_lse: bool = False,
        return_accuracy: bool = False,
        gradient: str = "exact",
        threshold: float = THRESHOLD,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            in_features,
            num_classes,
            out_features=out_features,
            bias=bias,
            device=device,
            dtype=dtype,
            reduction=reduction,
            weight=weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            options=options,
        )
        self.more: dict[str, Any] = {
            "z_loss": z_loss,
            "logit_scale": logit_scale,
            "softcap": softcap,
            "shift": shift,
            "max_memory": max_memory,
            "return_lse": return_lse,
            "return_accuracy": return_accuracy,
            "gradient": gradient,
            "threshold": threshold,
            "generator": generator,
        }

    def forward(
        self,
        input: Tensor,
        target: Any,
        *,
        sample_weight: Tensor | None = None,
        normalizer: float | Tensor | None = None,
    ) -> Any:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
            sample_weight=sample_weight,
            normalizer=normalizer,
            **self.more,
        )
