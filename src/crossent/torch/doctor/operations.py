"""What operations make of watched tensors: origins for provenance, and findings where the origins already show them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.examination import Examination
from crossent.torch.doctor.places import caller
from crossent.torch.doctor.provenance import Origin, Provenance

# A bound under a logarithm that is meant as "nearly nothing".
_LARGEST_EPS = 0.05
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

_BEGINNINGS = {"softmax", "sigmoid", "log_softmax", "log", "clip", "linear", "convolution", "backward"}


class Operations:
    """Follow tensors from operation to operation."""

    def __init__(self, provenance: Provenance, examination: Examination) -> None:
        self._provenance, self._examination = provenance, examination

    def concern(self, kind: str, args: tuple[Any, ...]) -> bool:
        """Whether an operation can matter: it begins a story, or goes on with a tensor that has one."""
        if kind in _BEGINNINGS or any(self._provenance.of(value) is not None for value in args[:3]):
            return True
        if kind == "add":
            return len(args) > 1 and isinstance(args[1], float)
        return kind == "view" and isinstance(args[0], Tensor) and args[0].ndim == 2 and args[0].dtype in _INTEGERS

    def see(self, kind: str, result: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note where the result of an operation came from."""
        getattr(self, f"_{kind}")(result, args, kwargs)

    def loss(self, call: LossCall, result: Tensor) -> None:
        """Note the result of a loss."""
        if call.reduction == "none":
            self._provenance.note(result, Origin("rows", call.where, terms={call: 1.0}))
        else:
            self._provenance.note(result, Origin("scalar", call.where, terms={call: 1.0}))

    def _made(self, kind: str, result: Tensor, args: Any, kwargs: Any, **known: Any) -> Origin | None:
        source = args[0] if args else kwargs.get("input")
        if not isinstance(source, Tensor):
            return None
        parent = self._provenance.of(source)
        origin = Origin(kind, caller(), parent, source.detach(), source._version, **known)
        self._provenance.note(result, origin)
        return origin

    def _softmax(self, result: Tensor, args: Any, kwargs: Any) -> None:
        self._made("softmax", result, args, kwargs)

    def _sigmoid(self, result: Tensor, args: Any, kwargs: Any) -> None:
        self._made("sigmoid", result, args, kwargs)

    def _log_softmax(self, result: Tensor, args: Any, kwargs: Any) -> None:
        self._made("log_softmax", result, args, kwargs)

    def _log(self, result: Tensor, args: Any, kwargs: Any) -> None:
        origin = self._made("log", result, args, kwargs)
        if origin is None or origin.parent is None or not result.requires_grad:
            return
        pick = origin.parent.find("pick")
        clip = origin.parent.find("clip", "shift")
        picked_first = clip is not None and clip.parent is not None and clip.parent.find("pick") is not None
        if pick is not None and pick.labels is not None:
            self._written(origin, pick.labels, True)
        elif picked_first:
            self._examination.calls += 1
            self._examination.clipped(origin)

    def _clip(self, result: Tensor, args: Any, kwargs: Any) -> None:
        source = args[0] if args else kwargs.get("input")
        bound = args[1] if len(args) > 1 else kwargs.get("min", kwargs.get("other"))
        eps = _number(bound)
        if eps is not None and 0 < eps <= _LARGEST_EPS and source is not result:
            self._made("clip", result, args, kwargs, eps=eps)

    def _add(self, result: Tensor, args: Any, kwargs: Any) -> None:
        left, right = args[0], args[1] if len(args) > 1 else kwargs.get("other")
        if self._combined(result, ((left, 1.0), (right, 1.0))):
            return
        eps = _number(right)
        floats = isinstance(left, Tensor) and left is not result and left.is_floating_point()
        if floats and eps is not None and 0 < eps <= _LARGEST_EPS:
            self._made("shift", result, args, kwargs, eps=eps)

    def _subtract(self, result: Tensor, args: Any, kwargs: Any) -> None:
        self._combined(result, ((args[0], 1.0), (args[1] if len(args) > 1 else kwargs.get("other"), -1.0)))

    def _combined(self, result: Tensor, parts: tuple[tuple[Any, float], ...]) -> bool:
        """Note a sum with losses in it; what else is added does not change their factors."""
        terms: dict[LossCall, float] = {}
        for part, sign in parts:
            origin = self._provenance.of(part)
            if origin is not None and origin.kind == "scalar":
                for call, factor in origin.terms.items():
                    terms[call] = terms.get(call, 0.0) + sign * factor
        if terms and result.numel() == 1:
            self._provenance.note(result, Origin("scalar", terms=terms))
        return bool(terms)

    def _scaled(self, result: Tensor, loss: Any, factor: float | None) -> bool:
        origin = self._provenance.of(loss)
        if origin is None or origin.kind != "scalar":
            return False
        if factor is None or result.numel() != 1:
            self._provenance.note(result, Origin("unknown"))
        else:
            self._provenance.note(result, replace(origin, terms={c: f * factor for c, f in origin.terms.items()}))
        return True

    def _multiply(self, result: Tensor, args: Any, kwargs: Any) -> None:
        left, right = args[0], args[1] if len(args) > 1 else kwargs.get("other")
        for one, other in ((left, right), (right, left)):
            if self._scaled(result, one, _number(other)):
                return
            origin = self._provenance.of(one)
            if origin is not None and isinstance(other, Tensor):
                if origin.kind == "rows":
                    self._examination.masked(origin.where, one.detach(), other.detach())
                elif origin.find("log", "log_softmax") is not None:
                    self._weighed(origin, one, other)

    def _divide(self, result: Tensor, args: Any, kwargs: Any) -> None:
        divisor = _number(args[1] if len(args) > 1 else kwargs.get("other"))
        self._scaled(result, args[0], None if not divisor else 1.0 / divisor)

    def _negate(self, result: Tensor, args: Any, kwargs: Any) -> None:
        origin = self._provenance.of(args[0])
        if origin is not None and origin.find("log", "log_softmax") is not None:
            self._provenance.note(result, Origin("reshape", caller(), origin, axis=origin.axis))
        else:
            self._scaled(result, args[0], -1.0)

    def _mean(self, result: Tensor, args: Any, kwargs: Any) -> None:
        if isinstance(args[0], Tensor) and args[0].numel() == 1:
            self._scaled(result, args[0], 1.0)

    def _where(self, result: Tensor, args: Any, kwargs: Any) -> None:
        if len(args) != 3 or not isinstance(args[0], Tensor):
            return
        for losses, kept in ((args[1], args[0]), (args[2], ~args[0])):
            origin = self._provenance.of(losses)
            if origin is not None and origin.kind == "rows":
                self._examination.masked(origin.where, losses.detach(), kept)

    def _gather(self, result: Tensor, args: Any, kwargs: Any) -> None:
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        index = args[2] if len(args) > 2 else kwargs.get("index", kwargs.get("indices"))
        source = args[0]
        origin = self._provenance.of(source)
        if origin is None or not isinstance(index, Tensor) or not isinstance(dim, int):
            return
        last = dim % source.ndim == source.ndim - 1
        if last and source.ndim == 2 and index.shape == (source.shape[0], 1):
            self._picked(result, source, origin, index.reshape(-1))

    def _index(self, result: Tensor, args: Any, kwargs: Any) -> None:
        source, index = args
        origin = self._provenance.of(source)
        if origin is None:
            return
        parts = index if isinstance(index, tuple) else (index,)
        if origin.kind == "rows":
            mask = parts[0]
            if len(parts) == 1 and isinstance(mask, Tensor) and mask.dtype == torch.bool:
                self._examination.masked(origin.where, source.detach(), mask)
        elif len(parts) == 2 and source.ndim == 2 and _is_range(parts[0], source.shape[0]):
            labels = torch.as_tensor(parts[1])
            if labels.dtype in _INTEGERS and labels.shape == (source.shape[0],):
                self._picked(result, source, origin, labels)
        elif all(isinstance(part, slice) or part is Ellipsis for part in parts):
            self._view(result, args[:1], kwargs)

    def _picked(self, result: Tensor, source: Tensor, origin: Origin, labels: Tensor) -> None:
        """Note one entry of each row, and look at it as a loss written by hand where it is a log-probability."""
        labels = labels.detach()
        self._provenance.note(result, Origin("pick", caller(), origin, source.detach(), source._version, labels=labels))
        self._written(origin, labels, source.requires_grad)

    def _weighed(self, origin: Origin, logs: Tensor, truth: Tensor) -> None:
        """Look at log-probabilities weighed by a truth: a loss; weighed by what trains too, they are an entropy."""
        if truth.shape != logs.shape or truth.requires_grad or not logs.requires_grad or truth.numel() == 0:
            return
        log = origin.find("log")
        if log is not None:
            self._examination.clipped(log)
        if logs.ndim == 2 and bool(((truth == 0) | (truth == 1)).all()) and bool((truth.sum(dim=-1) == 1).all()):
            self._written(origin, truth.detach().to(torch.float32).argmax(dim=-1), logs.requires_grad)

    def _written(self, origin: Origin, labels: Tensor, trains: bool) -> None:
        log = origin.find("log", "log_softmax")
        if log is None:
            return
        self._examination.calls += 1
        form, logits = "log_softmax", log
        if log.kind == "log":
            clip = None if log.parent is None else log.parent.find("clip", "shift")
            if clip is not None and clip.source is not None and clip.source.ndim == 2:
                rows = torch.arange(len(labels), device=labels.device)
                inside = labels.clamp(0, clip.source.shape[1] - 1).long()
                if trains:
                    self._examination.clipped(log, clip.source[rows, inside])
                return
            made = None if log.parent is None else log.parent.find("softmax")
            if made is None:
                return
            form, logits = "log(softmax)", made
        if logits.source is None or not logits.is_unchanged() or logits.source.ndim != 2:
            return
        call = LossCall("written", caller(), logits.source, labels.long(), reduction="none", trains=trains)
        call.extra["form"] = form
        self._examination.before(call)

    def _linear(self, result: Tensor, args: Any, kwargs: Any) -> None:
        self._provenance.note(result, Origin("linear", caller(), axis=-1))

    def _convolution(self, result: Tensor, args: Any, kwargs: Any) -> None:
        if result.ndim > 2:
            self._provenance.note(result, Origin("convolution", caller(), axis=-_spatial(args, kwargs) - 1))

    def _permute(self, result: Tensor, args: Any, kwargs: Any) -> None:
        source = args[0]
        origin = self._provenance.of(source)
        if origin is None:
            return
        # Which axis of the source became which, read off the strides where they tell.
        axis = None
        if origin.axis is not None and len(set(source.stride())) == source.ndim:
            stride = source.stride(origin.axis)
            found = [a for a in range(result.ndim) if result.stride(a) == stride]
            axis = found[0] - result.ndim if len(found) == 1 else None
        self._provenance.note(result, Origin("reshape", caller(), origin, axis=axis, shape=tuple(source.shape)))

    def _view(self, result: Tensor, args: Any, kwargs: Any) -> None:
        source = args[0]
        origin = self._provenance.of(source)
        if origin is not None and origin.kind == "scalar":
            self._scaled(result, source, 1.0)
            return
        shape = tuple(source.shape)
        if origin is None:
            # The shape of labels before they were flattened tells where rows end.
            if source.dtype in _INTEGERS and source.ndim == 2 and result.ndim == 1 and result is not source:
                self._provenance.note(result, Origin("reshape", caller(), shape=shape))
            return
        axis, kind = origin.axis, "reshape"
        if axis is not None and result.shape[axis:] != source.shape[axis:]:
            crossed = result.ndim == 2 and result.shape[-1] == source.shape[axis] and axis != -1
            axis, kind = None, "mixed" if crossed else "reshape"
        self._provenance.note(result, Origin(kind, caller(), origin, axis=axis, shape=shape))

    def _same(self, result: Tensor, args: Any, kwargs: Any) -> None:
        origin = self._provenance.of(args[0])
        if origin is not None and result is not args[0]:
            self._provenance.note(result, origin)


def _number(value: Any) -> float | None:
    """Return a number, or a constant tensor of one; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Tensor) and value.numel() == 1 and not value.requires_grad and value.device.type != "meta":
        return float(value)
    return None


def _is_range(index: Any, n: int) -> bool:
    if isinstance(index, (range, list)):
        return list(index) == list(range(n))
    return (
        isinstance(index, Tensor)
        and index.shape == (n,)
        and index.dtype in _INTEGERS
        and bool((index == torch.arange(n, device=index.device)).all())
    )


def _spatial(args: Any, kwargs: Any) -> int:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    return int(weight.ndim - 2)
