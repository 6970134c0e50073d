"""What the ranks of a test of the unbiased gradient do."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

import crossent
from crossent.torch.parallel import class_parallel_cross_entropy, class_range

ROWS, CLASSES, THRESHOLD = 6, 90, 1 / 16


def problem(dtype=np.float64):
    """Return logits, labels, class and sample weights, and options. As x is the identity, the weights' gradient is
    that of the logits, transposed.
    """
    rng = np.random.default_rng(3)
    z = (1.5 * rng.normal(size=(ROWS, CLASSES))).astype(dtype)
    sample_weight = rng.uniform(0.5, 2.0, ROWS)
    sample_weight[2] = 0.0
    return (
        z,
        rng.integers(0, CLASSES, ROWS),
        sample_weight,
        {"label_smoothing": 0.1, "logit_scale": 1.5, "softcap": 9.0},
    )


def own_classes():
    found = class_range(CLASSES, dist.get_rank(), dist.get_world_size())
    return slice(found.start, found.stop)


def gradients(seed, gradient="unbiased", dtype=torch.float64, max_memory="64MiB", **changes):
    """Return the loss, and the gradients of x, this rank's weight and its bias."""
    z, labels, sample_weight, options = problem()
    own = own_classes()
    x = torch.eye(ROWS, dtype=dtype, requires_grad=True)
    weight = torch.tensor(z[:, own].T.copy(), dtype=dtype, requires_grad=True)
    bias = torch.zeros(len(weight), dtype=dtype, requires_grad=True)
    loss = class_parallel_cross_entropy(
        x,
        weight,
        torch.tensor(labels),
        bias_shard=bias,
        sample_weight=torch.tensor(sample_weight, dtype=dtype),
        gradient=gradient,
        threshold=THRESHOLD,
        generator=torch.Generator().manual_seed(seed),
        max_memory=max_memory,
        **options | changes,
    )
    loss.sum().backward()
    return loss.detach().numpy(), x.grad.numpy(), weight.grad.numpy(), bias.grad.numpy()


def difference_from_one_process(seed):
    """Return the worst difference from NumPy's head, which rounds by the same row, class and seed."""
    z, labels, sample_weight, options = problem()
    drawn = int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(seed)))
    whole = crossent.linear_cross_entropy(
        np.eye(ROWS),
        z.T.copy(),
        labels,
        sample_weight=sample_weight,
        gradient="unbiased",
        threshold=THRESHOLD,
        seed=drawn,
        **options,
    )
    loss, x, weight, _ = gradients(seed)
    pairs = (loss, whole.loss), (x, whole.x_grad), (weight, whole.weight_grad[own_classes()])
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def same_as_exact():
    """Whether the loss and the bias's gradient are those of the exact gradient, and the others are not."""
    found, exact = gradients(1), gradients(1, "exact")
    return [bool(np.array_equal(a, b)) for a, b in zip(found, exact, strict=True)]


def bits(budgets, threads):
    """Whether results have the same bits for every budget and number of threads."""
    found = []
    for budget in budgets:
        for count in threads:
            torch.set_num_threads(count)
            found.append(gradients(2, max_memory=budget))
    torch.set_num_threads(1)
    return all(np.array_equal(a, b) for other in found for a, b in zip(other[2:3], found[0][2:3], strict=True))


def draws(count, seeds_differ, reduction):
    """Return, of the logits' gradient on this rank and of x's: the exact ones, the means of some draws; and of the
    former each entry's deviation, and how many entries were neither kept, nor rounded to 0 or the threshold.
    """
    _, exact_x, exact, _ = gradients(0, "exact", reduction=reduction)
    first = 1000 * dist.get_rank() if seeds_differ else 0
    mean, mean_x, odd = 0.0, 0.0, 0
    _, _, sample_weight, options = problem()
    share = sample_weight / (1.0 if reduction == "none" else sample_weight.sum())
    limit = THRESHOLD * share * options["logit_scale"]
    small = np.abs(exact) < limit
    for seed in range(first, first + count):
        _, x, weight, _ = gradients(seed, reduction=reduction)
        mean, mean_x = mean + weight / count, mean_x + x / count
        rounded = (weight == 0.0) | np.isclose(weight, np.sign(exact) * limit, rtol=1e-14, atol=0.0)
        odd += int(np.where(small, ~rounded, weight != exact).sum())
    deviation = np.sqrt(np.where(small, np.abs(exact) * (limit - np.abs(exact)), 0.0))
    return exact, mean, deviation, odd, exact_x, mean_x
