"""A call of a loss in one form, whichever function it was, and the rows of it that are looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossent.torch.doctor.provenance import Origin

# At most so many rows and entries of a batch are compared with the exact values.
MAX_ROWS, MAX_ENTRIES = 512, 2**17


@dataclass(eq=False)
class LossCall:
    """What a loss was called with.

    Attributes
    ----------
    function : str
        ``cross_entropy``, ``nll_loss``, ``binary_cross_entropy_with_logits``, ``binary_cross_entropy``, ``kl_div``, or
        ``written`` for log-probabilities picked at labels by hand.
    input, target : Tensor
        As given; the input apart from the graph.
    is_exact : bool
        Whether it is crossent's own.
    trains : bool
        Whether a gradient will be taken of it.
    output : Tensor, optional
        What it gave.
    """

    function: str
    where: str
    input: Tensor
    target: Tensor
    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    smoothing: float = 0.0
    sample_weight: Tensor | None = None
    normalizer: float | None = None
    z_loss: float = 0.0
    log_target: bool = False
    is_exact: bool = False
    trains: bool = False
    autocast: bool = False
    origin: Origin | None = None
    target_origin: Origin | None = None
    output: Tensor | None = None
    error: BaseException | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def of_classes(self) -> bool:
        """Whether the input has a class axis."""
        return self.function in ("cross_entropy", "nll_loss", "written") or self.function.startswith("cross_entropy_")

    @property
    def axis(self) -> int:
        return min(1, self.input.ndim - 1)

    @property
    def n_classes(self) -> int:
        return self.input.shape[self.axis] if self.input.ndim else 0

    @property
    def is_soft(self) -> bool:
        return self.target.shape == self.input.shape and self.target.is_floating_point()

    @cached_property
    def fits(self) -> bool:
        """Whether labels have the rows' shape, or distributions the input's: what PyTorch takes."""
        if self.input.ndim == 0 or not self.of_classes:
            return False
        rows = self.input.shape[: self.axis] + self.input.shape[self.axis + 1 :]
        integer = not (self.target.is_floating_point() or self.target.is_complex() or self.target.dtype == torch.bool)
        return self.is_soft or (integer and self.target.shape == rows)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The labels of all rows, one after the other."""
        return self.target.detach().reshape(-1).to("cpu", torch.int64).numpy()

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        kept: NDArray[np.bool_] = self.labels != self.ignore_index
        return kept

    @cached_property
    def class_weights(self) -> NDArray[np.float64] | None:
        return None if self.weight is None else self.weight.detach().to("cpu", torch.float64).numpy()

    @cached_property
    def denominator(self) -> float:
        """What the mean divides by."""
        if self.normalizer is not None:
            return self.normalizer
        if not self.of_classes:
            return float(self.input.shape[0] if self.reduction == "batchmean" else self.input.numel())
        if self.is_soft:
            return self.input.numel() / max(self.n_classes, 1)
        weights = np.ones(len(self.labels))
        if self.sample_weight is not None:
            weights = self.sample_weight.detach().reshape(-1).to("cpu", torch.float64).numpy()
        if self.class_weights is not None:
            inside = np.clip(self.labels, 0, self.n_classes - 1)
            weights = weights * self.class_weights[inside]
        return float(weights[self.kept].sum())

    def flat_rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Return some rows of the input on the CPU, the classes last: without copying the others."""
        if self.input.ndim == 1:
            return self.input.detach().unsqueeze(0).cpu()
        moved = self.input.detach().movedim(self.axis, -1)
        index = tuple(torch.from_numpy(i).to(moved.device) for i in np.unravel_index(rows, moved.shape[:-1]))
        return moved[index].cpu()

    def some(self, chosen: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return evenly spaced rows, of all or of the chosen ones, as many as are looked at."""
        n = self.input.numel() // max(self.n_classes, 1)
        rows = np.arange(n) if chosen is None else np.flatnonzero(chosen)
        most = max(1, min(MAX_ROWS, MAX_ENTRIES // max(self.n_classes, 1)))
        if len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
        return rows.astype(np.int64)

    @cached_property
    def sample(self) -> tuple[Tensor, NDArray[np.int64]]:
        """The rows looked at, in the input's dtype, and their labels: rows that are kept and labels that exist."""
        valid = self.kept & (self.labels >= 0) & (self.labels < self.n_classes)
        rows = self.some(valid)
        return self.flat_rows(rows), self.labels[rows]
