"""What the ranks of a test do; every function runs on all ranks of a group at once."""

from __future__ import annotations

import numpy as np
import option_cases
import torch
import torch.distributed as dist

from crossent.torch.parallel import class_parallel_cross_entropy


def tensor(values, dtype=None, requires_grad=False):
    found = None if values is None else torch.tensor(values, dtype=dtype)
    return found.requires_grad_() if requires_grad and found is not None else found


def call(problem, own, dtype, **changes):
    """Return the loss of a problem whose classes ``own`` are this rank's, and its leaves."""
    leaves = (
        tensor(problem.x, dtype, True),
        tensor(problem.weight[own], dtype, True),
        None if problem.bias is None else tensor(problem.bias[own], dtype, True),
    )
    labels = problem.target.ndim == 1
    arguments = {
        "x": leaves[0],
        "weight_shard": leaves[1],
        "target": tensor(problem.target) if labels else tensor(problem.target[:, own]),
        "bias_shard": leaves[2],
        "weight": tensor(problem.class_weight),
        "sample_weight": tensor(problem.sample_weight),
        "max_memory": problem.max_memory,
        **problem.options,
        **changes,
    }
    return class_parallel_cross_entropy(**arguments), leaves


def error(found, truth):
    """Return the largest difference, relative to the largest entry."""
    if found.shape != truth.shape:
        return np.inf
    if truth.size == 0:
        return 0.0
    largest = np.abs(truth).max()
    difference = np.abs(found - truth).max()
    return float(difference if largest == 0.0 else difference / largest)


def worst_errors(numbers):
    """Return the worst error of loss and gradients by dtype, with the case it was of, and how many cases ran."""
    worst = dict.fromkeys(option_cases.DTYPES, (0.0, None))
    every = option_cases.cases()
    for number in numbers:
        case = every[number]
        problem = option_cases.problem_of(case)
        own = option_cases.shares(case, dist.get_world_size())[dist.get_rank()]
        n = len(problem.x)
        bar = case.generator.uniform(0.5, 2.0, n) if case.reduction == "none" else np.float64(0.75)
        loss, leaves = call(problem, own, getattr(torch, case.dtype))
        loss.backward(torch.tensor(bar, dtype=loss.dtype))
        truth = option_cases.expected(problem, bar)
        errors = [error(loss.detach().numpy().astype(np.float64), truth[0]), error(gradient(leaves[0]), truth[1])]
        # Relative to the whole gradient: a shard's own may be of rounding errors only.
        for leaf, whole in zip(leaves[1:], truth[2:], strict=True):
            if leaf is not None:
                rest = whole.copy()
                rest[own] = gradient(leaf)
                errors.append(error(rest, whole))
        found = max(errors, key=lambda each: np.inf if np.isnan(each) else each)
        if not found <= worst[case.dtype][0]:
            worst[case.dtype] = (found, case)
    return worst, len(numbers)


def gradient(leaf):
    return leaf.grad.numpy().astype(np.float64)
