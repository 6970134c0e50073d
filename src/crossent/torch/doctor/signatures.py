"""Which of torch's functions are watched, and how their arguments are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

_LEGACY = ("size_average", "reduce")
# The arguments of each loss, in their order.
LOSSES: dict[str, tuple[str, ...]] = {
    "cross_entropy": (
        *("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing"),
    ),
    "nll_loss": ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction"),
    "binary_cross_entropy": ("input", "target", "weight", *_LEGACY, "reduction"),
    "binary_cross_entropy_with_logits": ("input", "target", "weight", *_LEGACY, "reduction", "pos_weight"),
    "cross_entropy_from_log_probs": ("input", "target"),
    "cross_entropy_from_probs": ("input", "target"),
    "kl_div": ("input", "target", *_LEGACY, "reduction", "log_target"),
}

# What is done with a tensor: the names under which torch, its tensors and torch.nn.functional do it.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "softmax": ("softmax",),
    "sigmoid": ("sigmoid",),
    "log_softmax": ("log_softmax",),
    "log": ("log", "log2", "log10"),
    "clip": ("clamp", "clip", "clamp_min", "maximum", "clamp_", "clip_", "clamp_min_"),
    "add": ("add", "add_", "__add__", "__radd__", "__iadd__"),
    "subtract": ("sub", "sub_", "__sub__", "subtract"),
    "multiply": ("mul", "mul_", "__mul__", "__rmul__", "multiply"),
    "divide": ("div", "div_", "__truediv__", "true_divide", "divide"),
    "negate": ("neg", "neg_", "negative"),
    "mean": ("mean", "sum"),
    "gather": ("gather", "take_along_dim"),
    "index": ("__getitem__",),
    "where": ("where",),
    "linear": ("linear",),
    "convolution": ("conv1d", "conv2d", "conv3d"),
    "permute": ("transpose", "swapaxes", "permute", "movedim", "t"),
    "view": ("view", "reshape", "flatten", "squeeze", "unsqueeze"),
    "same": ("contiguous", "clone", "float", "double", "half", "bfloat16", "to", "type", "detach", "cpu", "cuda"),
    "backward": ("backward",),
}


def by_function(table: dict[str, tuple[str, ...]], owners: tuple[Any, ...]) -> dict[Callable[..., Any], str]:
    """Return the kind of each function that one of the owners has under one of its names."""
    found = {}
    for kind, names in table.items():
        for owner in owners:
            for name in names:
                function = getattr(owner, name, None)
                if callable(function):
                    found[function] = kind
    return found


def operations() -> dict[Callable[..., Any], str]:
    return by_function(OPERATIONS, (torch, torch.Tensor, functional, torch.special))


def losses() -> dict[Callable[..., Any], str]:
    from crossent.torch import losses, probabilities

    own = by_function({name: (name,) for name in LOSSES}, (functional,))
    exact = by_function({name: (name,) for name in LOSSES}, (losses, probabilities))
    return own | exact


def named(names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(names, args)) | kwargs
