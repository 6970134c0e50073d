"""Each code's reason and remedy, in one table; the numbers come from the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossent.torch.doctor.findings import Finding, Severity

# code: (why it hurts, the code to write instead)
ADVICE: dict[str, tuple[str, str]] = {
    "double-softmax": (
        "The loss takes the softmax of its input itself. Of probabilities, it is a second one: the loss cannot fall "
        "below log(1 + (C-1)/e) nats however right the model is, and gradients shrink by the factors q_c.",
        "loss = F.cross_entropy(logits, target)  # the last layer's output, without softmax or sigmoid",
    ),
    "probs-as-log-probs": (
        "This loss takes log-probabilities: rows whose exponentials sum to 1. Of other numbers it is not a likelihood, "
        "it is unbounded below, and its gradient is the same for right and wrong rows.",
        "loss = F.cross_entropy(logits, target)  # or F.nll_loss(F.log_softmax(logits, dim=1), target)",
    ),
    "clipped-log": (
        "Below the bound the gradient of log(clamp(p, eps)) is exactly 0, and that of log(p + eps) is too small: the "
        "rows that are most wrong learn least. The loss cannot exceed -log(eps) either.",
        "loss = F.cross_entropy(logits, target)  # or crossent.torch.cross_entropy_from_probs(probs, target)",
    ),
    "collapsed-rows": (
        "In this dtype the loss or the gradient of these rows has lost its leading digits, mostly to an exact 0: they "
        "stop to train although their true gradient is not 0.",
        "from crossent.torch import cross_entropy\nloss = cross_entropy(logits, target)",
    ),
    "low-precision-loss": (
        "The loss is computed and summed in 16 bits: its value, its gradient and its count of rows are rounded to 2 or "
        "3 digits, and float16 overflows at 65504.",
        "loss = F.cross_entropy(logits.float(), target)  # or crossent.torch.cross_entropy(logits, target)",
    ),
    "all-ignored": (
        "No target of this batch takes part, so the mean is 0/0: the loss is NaN, and one backward makes every weight "
        "NaN.",
        "kept = (target != ignore_index).sum().clamp(min=1)\n"
        'loss = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="sum") / kept',
    ),
    "ignored-nan": (
        "Rows that are ignored or masked hold inf or NaN. Multiplied by 0 they give NaN, in the loss or in its "
        "backward, and the weights follow.",
        "from crossent.torch import cross_entropy\n"
        "loss = cross_entropy(logits, target, ignore_index=ignore_index)  # ignored rows contribute exactly nothing",
    ),
    "label-out-of-range": (
        "Labels are outside of [0, C): the call fails, on a GPU it ends the process later and elsewhere, and a "
        "negative index by hand silently takes a class from the end.",
        "assert 0 <= target.min() and target.max() < logits.shape[1]  # labels from 0; padding = ignore_index",
    ),
    "label-dtype": (
        "Class numbers are integers, one for each row; distributions are floats of the logits' shape. One in place of "
        "the other fails, or trains on another problem.",
        "target = target.long()  # class numbers; of one-hot rows: target.argmax(dim=1)",
    ),
    "shape-swapped": (
        "The class axis of a loss is axis 1: (N, C, d). Here classes stand elsewhere, so that positions compete with "
        "each other in place of classes.",
        "loss = F.cross_entropy(logits.transpose(1, -1), target)  # (N, d, C) -> (N, C, d)",
    ),
    "not-a-distribution": (
        "The targets of a row are not a distribution: with negative entries the loss has no lower bound, and a sum "
        "other than 1 weighs the row by it and moves the minimum.",
        "target = target / target.sum(dim=1, keepdim=True)  # many labels a row: F.binary_cross_entropy_with_logits",
    ),
    "accumulation-mean": (
        "Each part's mean divides by the part's own count, so that rows of parts with few targets weigh more: the "
        "accumulated gradient is not the batch's.",
        "from crossent.torch import cross_entropy\n"
        "kept = sum((y != ignore_index).sum() for y in targets_of_the_batch)\n"
        "cross_entropy(logits, target, normalizer=kept).backward()  # no division by the number of parts",
    ),
    "mean-over-ranks": (
        "Each rank's mean divides by its own count and the gradients are averaged over ranks: rows on ranks with few "
        "targets weigh more.",
        "kept = (target != ignore_index).sum()\ntorch.distributed.all_reduce(kept)\n"
        "loss = crossent.torch.cross_entropy(logits, target, normalizer=kept / torch.distributed.get_world_size())",
    ),
    "weighted-mean": (
        "With labels the weighted mean divides by the summed weights of the labels; with distributions it divides by "
        "the number of rows. The same data give another loss and another step.",
        "loss = F.cross_entropy(logits, target.argmax(dim=1), weight=weight)  # one-hot rows\n"
        "# or: crossent.torch.cross_entropy(logits, target, weight=weight, normalizer=(target * weight).sum())",
    ),
    "smoothing-convention": (
        "Smoothing together with class weights or ignored rows means different things in different libraries: PyTorch "
        "weighs the smoothed mass of each class by that class's weight, and divides by the kept labels' weights alone.",
        "loss = F.cross_entropy(logits, target, weight=weight)  # one of both; or smooth the targets by hand",
    ),
    "initial-loss": (
        "A fresh model knows nothing and should lose log C nats a row. More means confident nonsense: the scale of the "
        "inputs, of the initial weights or of the logits is wrong, and the first steps only undo it.",
        "x = (x - x.mean(dim=0)) / x.std(dim=0)  # or: torch.nn.init.zeros_(head.weight)",
    ),
    "unused-class": (
        "The model has outputs for classes that no target names: their probability is only pushed down, and the first "
        "epochs go into that.",
        "head = torch.nn.Linear(in_features, n_classes_seen)  # labels from 0 without gaps",
    ),
    "imbalance": (
        "Classes are very unequally frequent, and the first predictions do not say so: the first epochs only learn the "
        "frequencies.",
        "with torch.no_grad():\n    head.bias.copy_(class_counts.log() - class_counts.sum().log())",
    ),
    "padding-counted": (
        "One class fills the ends of the rows: padding takes part in the loss, and the model is trained to predict it.",
        "loss = F.cross_entropy(logits, target, ignore_index=pad)",
    ),
    "logits-memory": (
        "The logits alone take more than a tenth of the memory, and the loss needs as much again for its gradient.",
        "from crossent.torch import linear_cross_entropy\nloss = linear_cross_entropy(x, head.weight, target)",
    ),
    "grad-check": (
        "The gradient of this loss differs from the exact one of the same logits by more than rounding has to cost.",
        "from crossent.torch import cross_entropy\nloss = cross_entropy(logits, target)",
    ),
}


def finding(code: str, severity: Severity, where: str, numbers: Mapping[str, Any], fix: str | None = None) -> Finding:
    """Return a finding with its reason and remedy."""
    why, usual_fix = ADVICE[code]
    return Finding(code, severity, where, numbers, why, fix or usual_fix)
