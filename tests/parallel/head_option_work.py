"""What the ranks of a test of the options of a head in one process do, and what float64 formulas say."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from crossent.torch.parallel import class_parallel_cross_entropy

KINDS = ("labels", "distributions", "few classes")


def problem(number):
    """Return the arguments for all classes, in float64, of a case that its number draws."""
    rng = np.random.default_rng(number)
    kind = KINDS[number % 3]
    shift = int(rng.integers(0, 3))
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 6))) if shift and rng.random() < 0.5 else (7,)
    c, d = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    # Whole numbers make ties.
    draw = (lambda s: rng.integers(-1, 2, s).astype(float)) if rng.random() < 0.4 else (lambda s: rng.normal(size=s))
    arguments = {"x": draw((*shape, d)), "weight": draw((c, d)), "bias": draw(c) if rng.random() < 0.5 else None}
    if kind == "labels":
        target = rng.integers(0, c, shape)
        target[rng.random(shape) < 0.3] = -100
    elif kind == "distributions":
        target = rng.dirichlet(np.ones(c), shape) * rng.choice([1.0, 0.5])
        if rng.random() < 0.3:
            target = np.round(target * 2)
    else:
        k = int(rng.integers(0, 4))
        target = rng.integers(0, c, (*shape, k)), rng.random((*shape, k))
    options = {
        "label_smoothing": float(rng.choice([0.0, 0.1])),
        "z_loss": float(rng.choice([0.0, 0.02])),
        "reduction": str(rng.choice(["mean", "sum", "none"])),
        "logit_scale": float(rng.choice([1.0, 1.5])),
        "softcap": [None, 5.0][int(rng.integers(0, 2))],
        "shift": shift,
    }
    if rng.random() < 0.5:
        arguments["class_weight"] = rng.uniform(0.0, 2.0, c) * (rng.random(c) < 0.8)
    if rng.random() < 0.4:
        arguments["sample_weight"] = rng.uniform(0.5, 2.0, shape) * (rng.random(shape) < 0.7)
    if options["reduction"] == "mean" and rng.random() < 0.3:
        options["normalizer"] = 4.0
    bars = rng.normal(size=100)
    return arguments, target, options, bars, int(rng.choice([64, 1 << 26]))


def expected(arguments, target, options, bars):
    """Return loss, lse, accuracy and the gradients of x, weight, bias, the probabilities and weights, by autograd."""
    leaf = {n: None if v is None else torch.tensor(v, requires_grad=True) for n, v in arguments.items()}
    x, weight, bias = leaf["x"], leaf["weight"], leaf["bias"]
    s, shift, c = leaf.get("sample_weight"), options["shift"], len(weight)
    z = options["logit_scale"] * (x @ weight.T + (0.0 if bias is None else bias))
    if options["softcap"] is not None:
        z = options["softcap"] * torch.tanh(z / options["softcap"])
    probs, kept = None, None
    if isinstance(target, tuple):
        probs = torch.tensor(target[1], requires_grad=True)
        p = torch.zeros_like(z).scatter_add(-1, torch.tensor(target[0]), probs)
    elif target.dtype.kind == "f":
        p = probs = torch.tensor(target, requires_grad=True)
    else:
        kept = torch.tensor(target) >= 0
        p = torch.nn.functional.one_hot(torch.tensor(target).clamp(min=0), c).double() * kept.unsqueeze(-1)
    axis = x.ndim - 2
    before = max(z.shape[axis] - shift, 0)
    z, p = z.narrow(axis, 0, before), p.narrow(axis, z.shape[axis] - before, before)
    s, kept = (t if t is None else t.narrow(axis, t.shape[axis] - before, before) for t in (s, kept))
    part = torch.ones(z.shape[:-1], dtype=torch.bool) if kept is None else kept
    part = part if s is None else part & (s > 0)
    w = leaf.get("class_weight", torch.ones(c, dtype=torch.float64))
    truth = ((1 - options["label_smoothing"]) * p + options["label_smoothing"] / c) * w
    lse = torch.where(part, z.logsumexp(-1), 0.0)
    of_row = torch.ones_like(lse) if kept is None else (p * w).sum(-1)
    losses = (truth * (lse.unsqueeze(-1) - z)).sum(-1) + options["z_loss"] * of_row * lse**2
    share = torch.where(part, 1.0 if s is None else s, 0.0)
    losses = torch.where(part, losses, 0.0) * share
    denominator = options["normalizer"] if "normalizer" in options else (of_row * share).sum()
    loss = losses if options["reduction"] == "none" else losses.sum()
    if options["reduction"] == "mean":
        loss = loss / denominator if denominator else loss * 0.0
    hit = (z.argmax(-1) == p.argmax(-1))[part].double().mean()
    weigh(loss, lse, bars).backward()
    leaves = (x, weight, bias, probs, leaf.get("class_weight"), leaf.get("sample_weight"))
    grads = [t if t is None else (torch.zeros_like(t) if t.grad is None else t.grad) for t in leaves]
    return loss.detach(), lse.detach(), hit, *grads


def weigh(loss, lse, bars):
    """Return a function of both whose cotangents are neither 1 nor all alike."""
    bars = torch.tensor(bars)
    return (loss.reshape(-1) * bars[: loss.numel()]).sum() + (lse.reshape(-1) * bars[50 : 50 + lse.numel()]).sum()


def own_classes(number, c):
    size, rank = dist.get_world_size(), dist.get_rank()
    cuts = np.sort(np.random.default_rng((number, size)).integers(0, c + 1, size - 1))
    ends = [0, *(int(cut) for cut in cuts), c]
    return slice(ends[rank], ends[rank + 1])


def worst_error(numbers):
    """Return the largest error of anything returned or differentiated, and the number of its case."""
    worst = (0.0, None)
    for number in numbers:
        error = max(errors(number), default=0.0, key=lambda e: np.inf if np.isnan(e) else e)
        if not error <= worst[0]:
            worst = (error, number)
    return worst


def errors(number):
    arguments, target, options, bars, budget = problem(number)
    truth = expected(arguments, target, options, bars)
    own = own_classes(number, len(arguments["weight"]))
    x = torch.tensor(arguments["x"], requires_grad=number % 5 != 0)
    weight = torch.tensor(arguments["weight"][own], requires_grad=True)
    bias = None if arguments["bias"] is None else torch.tensor(arguments["bias"][own], requires_grad=True)
    probs = None
    if isinstance(target, tuple):
        probs = torch.tensor(target[1], requires_grad=True)
        given = torch.tensor(target[0]), probs
    elif target.dtype.kind == "f":
        given = probs = torch.tensor(target[..., own], requires_grad=True)
    else:
        given = torch.tensor(target)
    # The class weights of all classes on every rank, or the rank's own.
    some = slice(None) if number % 2 else own
    rest = {
        n: torch.tensor(arguments[o][place], requires_grad=number % 7 != 0)
        for n, o, place in (("weight", "class_weight", some), ("sample_weight", "sample_weight", slice(None)))
        if o in arguments
    }
    found = class_parallel_cross_entropy(
        x, weight, given, bias_shard=bias, max_memory=budget, return_lse=True, return_accuracy=True, **rest, **options
    )
    weigh(*found[:2], bars).backward()
    whole = isinstance(target, tuple)
    of_classes, of_rows = (rest[n].grad if n in rest else None for n in ("weight", "sample_weight"))
    for value, true in (
        (found[0].detach(), truth[0]),
        (found[1].detach(), truth[1]),
        (x.grad, truth[3]),
        (weight.grad, truth[4][own]),
        (None if bias is None else bias.grad, None if bias is None else truth[5][own]),
        (
            None if probs is None else probs.grad,
            None if probs is None else truth[6] if whole else truth[6][..., own],
        ),
        (of_classes, None if of_classes is None else truth[7][some]),
        (of_rows, truth[8]),
    ):
        if value is not None and true is not None and true.numel():
            yield float((value - true).abs().max() / max(1.0, float(true.abs().max())))
    if is_decided(arguments, target, options) and not np.isnan([float(truth[2]), float(found[2])]).all():
        off = abs(float(found[2]) - float(truth[2]))
        yield 0.0 if off < 1e-6 else off  # the accuracy is float32


def is_decided(arguments, target, options):
    """Whether it is clear what is largest, however the numbers are rounded, and on whichever ranks they are."""
    z = arguments["x"] @ arguments["weight"].T + (0.0 if arguments["bias"] is None else arguments["bias"])
    ties = [
        ((np.abs(a - a.max(-1, keepdims=True)) < 1e-9).sum(-1) > 1).any()
        for a in (z, as_distribution(target))
        if a.size
    ]
    by_columns = not isinstance(target, tuple) and target.dtype.kind == "f"
    exact = options["softcap"] is None and options["logit_scale"] == 1.0
    return not any(ties) or (exact and not by_columns)


def as_distribution(target):
    return np.zeros(0) if isinstance(target, tuple) or target.dtype.kind != "f" else target
