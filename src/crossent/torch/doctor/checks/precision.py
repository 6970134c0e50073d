"""What the dtype costs: the rows of a call, compared with the exact loss and gradient of the same logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crossent import reference
from crossent.torch.doctor.advice import finding
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.findings import Finding

Weighed = tuple[Finding, float]
Float64Array = NDArray[np.float64]

# A confident row here and there is what training is for: a share of them is a loss that has stopped.
_WARN, _ERROR, _FEW_ROWS = 0.05, 0.5, 64
_OFF = 0.01
_WORST_ULP = 64.0


class Compared(NamedTuple):
    """Rows as their function computes them, and as they are."""

    loss: Float64Array
    grad: Float64Array
    true_loss: Float64Array
    true_grad: Float64Array
    labels: NDArray[np.int64]

    def of_label(self, grad: Float64Array) -> Float64Array:
        return np.take_along_axis(grad, self.labels[:, None], axis=1)[:, 0]


def logits_of(call: LossCall) -> LossCall | None:
    """Return the call as one of logits and labels, where that is known and the logits still are what they were."""
    if not call.fits or call.is_soft or call.smoothing > 0 or call.input.numel() == 0:
        return None
    if call.function in ("cross_entropy", "written"):
        return call
    made = None if call.origin is None else call.origin.find("log_softmax")
    if made is None or made.source is None or not made.is_unchanged() or made.source.shape != call.input.shape:
        return None
    return LossCall("cross_entropy", call.where, made.source, call.target, ignore_index=call.ignore_index)


def compare(call: LossCall, dtype: torch.dtype, chosen: NDArray[np.bool_] | None = None) -> Compared | None:
    """Return the finite rows looked at, computed in a dtype by PyTorch and exactly by the reference."""
    rows, labels = call.sample
    if chosen is not None:
        rows, labels = rows[torch.from_numpy(chosen)], labels[chosen]
    finite = torch.isfinite(rows).all(dim=-1)
    rows, labels = rows[finite], labels[finite.numpy()]
    if len(rows) == 0:
        return None
    with torch.enable_grad():
        z = rows.to(dtype).detach().requires_grad_()
        losses = _losses(z, torch.from_numpy(labels), call.extra.get("form", "log_softmax"))
        (grad,) = torch.autograd.grad(losses.sum(), z)
    exact = reference.cross_entropy_and_grad(rows.double().numpy(), labels, reduction="none")
    return Compared(losses.detach().double().numpy(), grad.double().numpy(), exact.loss, exact.grad, labels)


def _losses(z: Tensor, labels: Tensor, form: str) -> Tensor:
    if form == "log_softmax":
        return functional.nll_loss(functional.log_softmax(z, dim=-1), labels, reduction="none")
    return -functional.softmax(z, dim=-1).gather(-1, labels[:, None]).log()[:, 0]


class CollapsedRows:
    """Rows whose loss or target gradient has collapsed, in the computing dtype."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def __call__(self, call: LossCall) -> Iterator[Weighed]:
        given = None if call.is_exact or not call.trains else logits_of(call)
        if given is None or given.n_classes < 2:
            return
        given.extra.update(call.extra)
        dtype = torch.float64 if given.input.dtype == torch.float64 else torch.float32
        suspects, n_rows = _suspects(given)
        rows = compare(given, dtype, suspects)
        collapsed = np.zeros(0, np.bool_) if rows is None else _collapsed(rows)
        before = self._seen.get(call.where, (0, 0))
        before = before if n_rows < 8 and before[1] < _FEW_ROWS else (0, 0)
        bad, n = before[0] + int(collapsed.sum()), before[1] + n_rows
        self._seen[call.where] = bad, n
        share = bad / max(n, 1)
        # One confident row of a tiny batch says nothing.
        if n < 4 or share < _WARN or rows is None or not collapsed.any():
            return
        worst = int(np.flatnonzero(collapsed)[rows.true_loss[collapsed].argmax()])
        numbers: dict[str, Any] = {
            "share of rows": share,
            "rows": n,
            "loss": float(rows.loss[worst]),
            "true loss": float(rows.true_loss[worst]),
            "target gradient": float(rows.of_label(rows.grad)[worst]),
            "true target gradient": float(rows.of_label(rows.true_grad)[worst]),
            "dtype": str(dtype).removeprefix("torch."),
        }
        severity = "error" if share >= _ERROR else "warning"
        yield finding("collapsed-rows", severity, call.where, numbers), share  # type: ignore[arg-type]


def _suspects(call: LossCall) -> tuple[NDArray[np.bool_], int]:
    """Return which rows have a loss so small, or so large, that the dtype may fail them, and the number of rows."""
    rows, labels = call.sample
    if len(labels) == 0:
        return np.zeros(0, np.bool_), 0
    z = rows.double().numpy()
    at_label = np.take_along_axis(z, labels[:, None], axis=1)[:, 0]
    size = np.maximum(np.where(np.isfinite(z), np.abs(z), 0.0).max(axis=1), 1.0)
    others = z.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    largest = np.nan_to_num(others.max(axis=1), neginf=0.0)
    t = largest + np.log(np.exp(others - largest[:, None]).sum(axis=1)) - at_label
    # A rounding error of |z| eps is more than a percent of a loss below 100 |z| eps; probabilities end at 1e-38.
    suspect: NDArray[np.bool_] = (np.logaddexp(0.0, t) < 4e-5 * size) | (t > 80)
    return suspect, len(labels)


def _collapsed(rows: Compared) -> NDArray[np.bool_]:
    normal = rows.true_loss > 1e-37  # below, no float32 could hold it
    with np.errstate(all="ignore"):
        loss_off = ~(np.abs(rows.loss - rows.true_loss) <= _OFF * rows.true_loss)
        true_grad = rows.of_label(rows.true_grad)
        grad_off = ~(np.abs(rows.of_label(rows.grad) - true_grad) <= _OFF * np.abs(true_grad))
    collapsed: NDArray[np.bool_] = normal & (loss_off | grad_off)
    return collapsed


def low_precision_loss(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding for a loss that is computed in 16 bits."""
    if call.is_exact or call.input.dtype not in (torch.float16, torch.bfloat16) or not call.fits:
        return
    # Autocast takes the loss in float32; log-probabilities of 16 bits have lost their digits before it.
    if call.autocast and (call.function != "nll_loss" or logits_of(call) is None):
        return
    dtype = call.input.dtype
    numbers: dict[str, Any] = {"dtype": str(dtype).removeprefix("torch.")}
    size, severe = 0.0, False
    if not call.is_soft and call.reduction == "mean" and call.function != "written":
        count = float(call.kept.sum())
        held = float(torch.tensor(count, dtype=torch.float64).to(dtype))
        numbers |= {"rows": int(count), "rows as counted": held}
        severe = held != count and not call.autocast
    given = logits_of(call)
    rows = None if given is None else compare(given, dtype)
    if rows is not None:
        exact = float(rows.true_loss.mean())
        mean = float(torch.from_numpy(rows.loss).to(dtype).mean())
        truth = rows.of_label(rows.true_grad)
        off = np.abs(rows.of_label(rows.grad) / np.where(truth == 0.0, 1.0, truth) - 1.0)[truth != 0.0]
        size = float(off.max(initial=0.0))
        numbers |= {
            "mean loss": mean,
            "true mean loss": exact,
            "worst relative error of a target gradient": size,
        }
        severe = severe or not np.isfinite(mean)
    yield finding("low-precision-loss", "error" if severe else "warning", call.where, numbers), size


def grad_check(call: LossCall) -> Iterator[Weighed]:
    """Yield a finding where the gradient of the call differs from the exact one, in units of its last place."""
    given = None if call.is_exact else logits_of(call)
    rows = None if given is None else compare(given, given.input.dtype)
    if rows is None or given is None:
        return
    info = torch.finfo(given.input.dtype)
    magnitude = np.maximum(np.abs(rows.true_grad), info.smallest_normal)
    ulp = np.exp2(np.floor(np.log2(magnitude))) * info.eps
    with np.errstate(invalid="ignore"):
        error = np.abs(rows.grad - rows.true_grad) / ulp
    at = np.unravel_index(int(np.nan_to_num(error, nan=np.inf).argmax()), error.shape)
    worst = float(error[at])
    if worst <= _WORST_ULP:
        return
    numbers = {
        "worst error (ulp)": worst,
        "gradient": float(rows.grad[at]),
        "exact gradient": float(rows.true_grad[at]),
        "median error (ulp)": float(np.nanmedian(error)),
        "rows": len(rows.labels),
        "dtype": str(given.input.dtype).removeprefix("torch."),
    }
    yield finding("grad-check", "warning", call.where, numbers), worst
