"""The checks are asked about every call, their findings collected, and nothing of the script is disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.checks import averages, classes, memory, precision, probabilities, rows, targets
from crossent.torch.doctor.findings import Finding, Ledger
from crossent.torch.doctor.provenance import Origin

Check = Callable[[LossCall], Iterable[tuple[Finding, float]]]


@contextmanager
def apart() -> Iterator[None]:
    """Compute beside the script: no graph, no autocast, no subclass's own ways."""
    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        devices = [d for d in ("cpu", "cuda") if torch.amp.is_autocast_available(d) and torch.is_autocast_enabled(d)]
        before = [(d, torch.get_autocast_dtype(d)) for d in devices]
        for device in devices:
            torch.set_autocast_enabled(device, False)
        try:
            yield
        finally:
            for device, _ in before:
                torch.set_autocast_enabled(device, True)


class Examination:
    """The findings of one run.

    Attributes
    ----------
    calls : int
        Of losses, functions' and written by hand.
    notes : list of str
        What could not be looked at, and why.
    """

    def __init__(self, grad_check: bool = False) -> None:
        self.ledger = Ledger()
        self.notes: list[str] = []
        self.calls = 0
        self.grad_check = grad_check
        self.on_change: Callable[[], None] = lambda: None
        self._classes = classes.ClassCounts()
        self._first: set[str] = set()
        self._by_shape: tuple[Check, ...] = (targets.shape_swapped, memory.logits_memory)
        self._by_value: tuple[Check, ...] = (
            targets.label_dtype,
            targets.label_out_of_range,
            targets.not_a_distribution,
            probabilities.double_softmax,
            probabilities.probs_as_log_probs,
            rows.all_ignored,
            rows.ignored_nan,
            averages.weighted_mean,
            averages.smoothing_convention,
            classes.padding_counted,
            precision.low_precision_loss,
            precision.CollapsedRows(),
            *((precision.grad_check,) if grad_check else ()),
        )

    def findings(self) -> list[Finding]:
        """Return the findings so far, with those that all the batches together show."""
        ledger = Ledger()
        known = self.ledger.findings()
        padded = {one.where for one in known if one.code == "padding-counted"}
        for one in (*known, *self._classes.findings()):
            if one.code != "imbalance" or one.where not in padded:  # padding is why
                ledger.add(one)
        return ledger.findings()

    def before(self, call: LossCall) -> None:
        """Look at what a loss is given."""
        for check in self._by_shape:
            self._ask(check, call)
        if call.input.device.type == "meta" or call.target.device.type == "meta":
            return
        for check in self._by_value:
            self._ask(check, call)
        self.guarded("clipped-log", lambda: self._clipped_input(call))
        self.guarded("unused-class", lambda: self._classes.see(call))

    def after(self, call: LossCall) -> None:
        """Look at what a loss gave."""
        if call.trains and call.where not in self._first and call.input.device.type != "meta":
            self._first.add(call.where)
            self._ask(classes.initial_loss, call)

    def _clipped_input(self, call: LossCall) -> None:
        log = None if call.origin is None or not call.trains else call.origin.find("log")
        clip = None if log is None or log.parent is None else log.parent.find("clip", "shift")
        if log is None or clip is None or clip.source is None:
            return
        if not call.fits or call.is_soft or clip.source.shape != call.input.shape or call.input.ndim != 2:
            self.clipped(log)
            return
        rows = np.flatnonzero(call.kept & (call.labels >= 0) & (call.labels < call.n_classes))
        index = torch.from_numpy(rows), torch.from_numpy(call.labels[rows])
        self.clipped(log, clip.source.cpu()[index])

    def clipped(self, origin: Origin, picked: Tensor | None = None) -> None:
        """Look at the logarithm of clipped probabilities, those at the labels where they are known."""
        self.take(probabilities.clipped_log(origin, picked))

    def masked(self, where: str, losses: Tensor, kept: Tensor) -> None:
        self.take(rows.masked_rows(where, losses, kept))

    def accumulated(self, backwards: list[dict[LossCall, float]]) -> None:
        """Look at the means whose gradients one step of the optimizer has used, backward by backward."""
        places: dict[tuple[str, int], list[tuple[LossCall, float]]] = {}
        for terms in backwards:
            for call, factor in terms.items():
                places.setdefault((call.where, call.n_classes), []).append((call, factor))
        for parts in places.values():
            if len(parts) == len(backwards):  # one in each: not several losses of one batch
                self.take(averages.accumulation_mean(parts))

    def take(self, found: Iterable[tuple[Finding, float]]) -> None:
        for one, size in found:
            self.ledger.add(one, size)
            self.on_change()

    def _ask(self, check: Check, call: LossCall) -> None:
        name = getattr(check, "__name__", type(check).__name__)
        self.guarded(name, lambda: self.take(check(call)))

    def guarded(self, what: str, look: Callable[[], None]) -> None:
        """Look, and go on whatever comes of it: a check that fails must not fail the script."""
        try:
            with np.errstate(all="ignore"):
                look()
        except Exception as error:
            self.note(f"{what.replace('_', '-')} could not look: {type(error).__name__}: {error}".splitlines()[0])

    def note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 50:
            self.notes.append(text)
            self.on_change()
