"""The mode that sees every torch function the script calls, and hands the ones that matter to the examination."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.nn import Parameter
from torch.nn import _reduction as legacy
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode

from crossent.torch.doctor import signatures
from crossent.torch.doctor.budget import Budget
from crossent.torch.doctor.calls import LossCall
from crossent.torch.doctor.eagerly import Eagerly
from crossent.torch.doctor.examination import Examination, apart
from crossent.torch.doctor.findings import Finding
from crossent.torch.doctor.operations import Operations
from crossent.torch.doctor.places import caller, caller_of_function, is_own, start_here
from crossent.torch.doctor.provenance import Provenance
from crossent.torch.doctor.ranks import Ranks
from crossent.torch.doctor.transport import letting_go
from crossent.torch.doctor.typed_gradients import gradient_of

_OTHER_THREAD = "an optimizer stepped in another thread: only the thread that is watched is seen"

# Without a step of an optimizer to count by, so many calls of losses are looked at before sampling sets in.
_FIRST_CALLS = 64


def examinable(*values: object) -> bool:
    """Whether these are tensors with values of their own: none that a transform, a tracer or a subclass wraps."""
    if torch._C._functorch.peek_interpreter_stack() is not None or torch._C._is_tracing():
        return False
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        return False
    return all(type(value) in (Tensor, Parameter) for value in values)


def _is_exact(func: Any) -> bool:
    return func.__module__.startswith("crossent.")  # type: ignore[no-any-return]


def _compiled_graphs() -> int:
    """Return how many graphs have been compiled so far: each anew for every stack of modes that it meets."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"].get("unique_graphs", 0))


class Watch(TorchFunctionMode):
    """Watch losses and what is done with their inputs and outputs, in this thread.

    Parameters
    ----------
    steps : int, optional
        Stop watching after so many calls of losses.
    every : int
        Look at one step of the optimizer in so many; in fewer where looking would take too much of the time.
    see_compiled : bool
        Run the steps looked at without compiling.
    """

    def __init__(self, examination: Examination, steps: int | None, every: int, see_compiled: bool = False) -> None:
        super().__init__()
        self.examination = examination
        self._limit, self._every = steps, every
        self._losses = signatures.losses()
        self._kinds = signatures.operations()
        self._provenance = Provenance()
        self._operations = Operations(self._provenance, examination)
        self._backwards: list[dict[LossCall, float]] = []
        self._ranks = Ranks()
        self._budget = Budget()
        self._typed: LossCall | None = None
        self._updates = 0
        self._steps = 0  # since the budget was told of some
        self._active = True
        self._over = False
        self._process, self._thread = os.getpid(), threading.get_ident()
        self._eagerly = Eagerly() if see_compiled else None
        self._hook: Any = None
        self._compiled = _compiled_graphs()
        self._below: list[Any] | None = None  # the modes below this one, while it rests

    def __enter__(self) -> Watch:
        start_here()
        # A step that is compiled must not have the hook compiled into it.
        stepped = _disable_dynamo(lambda: self._stepped())
        self._hook = register_optimizer_step_post_hook(lambda *_: stepped())
        self._has_torch_function = torch.overrides.has_torch_function
        torch.overrides.has_torch_function = self._has_override
        self._letting_go = letting_go()
        self._letting_go.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        if self._eagerly is not None:
            self._eagerly.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._below is None:
            super().__exit__(*exception)  # type: ignore[no-untyped-call]
        if self._eagerly is not None:
            self._eagerly.end()
        self._hook.remove()
        torch.overrides.has_torch_function = self._has_torch_function
        self._letting_go.__exit__(None, None, None)
        self._over = True
        self._provenance.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A compiler that traces through this line sees the script's own call, and nothing of the watch.
        if torch.compiler.is_compiling():
            return func(*args, **(kwargs or {}))
        kwargs = kwargs or {}
        if self._over:
            return func(*args, **kwargs)
        if func in self._losses:
            return self._loss(func, args, kwargs)
        kind = self._kinds.get(func) if self._active else None
        if kind is None or not self._operations.concern(kind, args) or is_own() or os.getpid() != self._process:
            return func(*args, **kwargs)
        if kind == "backward":
            return self._backward(func, args, kwargs)
        result = func(*args, **kwargs)
        if examinable(result):
            self._guarded(kind, lambda: self._operations.see(kind, result, args, kwargs))
            self._stop_at_limit()
        return result

    def _has_override(self, args: Any) -> bool:
        """Answer as without the watch: attention asks in order to take a faster way, which rounds otherwise."""
        stack = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        if torch.compiler.is_compiling() or not stack or stack[-1] is not self:
            return bool(self._has_torch_function(args))
        with torch.overrides._pop_mode_temporarily():
            return bool(self._has_torch_function(args))

    def _guarded(self, what: str, look: Callable[[], None]) -> None:
        with apart():
            self.examination.guarded(what, look)

    def _loss(self, func: Any, args: Any, kwargs: Any) -> Any:
        # A loss of crossent's own comes here out of crossent itself.
        if (not _is_exact(func) and is_own()) or os.getpid() != self._process:
            return func(*args, **kwargs)
        self.examination.calls += 1
        if self._updates == 0 and self._every > 1 and self.examination.calls > _FIRST_CALLS:
            self._active = self.examination.calls % self._every == 0
        call = self._looked_at(func, args, kwargs) if self._active else None
        try:
            result = func(*args, **kwargs)
        except Exception:
            if not self._active:
                self._looked_at(func, args, kwargs)
            raise
        if call is not None:
            self._gave(call, result)
        self._stop_at_limit()
        return result

    def _stop_at_limit(self) -> None:
        if self._limit is not None and self.examination.calls >= self._limit:
            self._over = True
            self.examination.on_change()

    def _looked_at(self, func: Any, args: Any, kwargs: Any) -> LossCall | None:
        call = self._read(func, args, kwargs)
        if call is not None:
            looked_at = call
            self._guarded("loss", lambda: self.examination.before(looked_at))
        return call

    def _read(self, func: Any, args: Any, kwargs: Any) -> LossCall | None:
        name = self._losses[func]
        names = signatures.LOSSES[name]
        given = signatures.named(names, args, kwargs)
        input, target = given.get("input"), given.get("target")
        if not isinstance(input, Tensor) or not isinstance(target, Tensor) or not examinable(input, target):
            return None
        reduction = given.get("reduction", "mean")
        if given.get("size_average") is not None or given.get("reduce") is not None:
            reduction = legacy.legacy_get_string(given.get("size_average"), given.get("reduce"), emit_warning=False)
        normalizer = given.get("normalizer")
        device = input.device.type
        autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        return LossCall(
            name,
            caller(),
            input.detach(),
            target.detach(),
            given.get("weight"),
            given.get("ignore_index", -100),
            reduction,
            float(given.get("label_smoothing", 0.0)),
            given.get("sample_weight"),
            None if normalizer is None else float(normalizer),
            float(given.get("z_loss", 0.0)),
            bool(given.get("log_target", False)),
            _is_exact(func),
            torch.is_grad_enabled() and input.requires_grad,
            autocast,
            self._provenance.of(input),
            self._provenance.of(target),
        )

    def _gave(self, call: LossCall, result: Any) -> None:
        loss = result[0] if isinstance(result, tuple) else result
        if not examinable(loss):
            return
        call.output = loss.detach()
        if self.examination.grad_check and not call.trains:
            place = caller_of_function()
            self._typed = call if place is not None else None
            call.where = place or call.where
        with apart():
            self.examination.after(call)
            self._operations.loss(call, loss)

    def _backward(self, func: Any, args: Any, kwargs: Any) -> Any:
        loss = args[0] if args else None
        origin = self._provenance.of(loss)
        if origin is not None and origin.kind == "scalar":
            terms = dict(origin.terms)
            self._backwards.append(terms)
            self._guarded("mean-over-ranks", lambda: self._ranks.tell(self._updates, terms))
        if self._typed is not None and isinstance(loss, Tensor):
            typed, self._typed = self._typed, None
            self._guarded("grad-check", lambda: gradient_of(loss, typed, self._tell))
        return func(*args, **kwargs)

    def saw_nothing(self) -> bool:
        """Whether training went by without any loss that could be watched."""
        return self.examination.calls == 0 and self._updates > 0 and self._compiles()

    def _compiles(self) -> bool:
        return _compiled_graphs() > self._compiled

    def _tell(self, found: Iterable[tuple[Finding, float]]) -> None:
        self._guarded("grad-check", lambda: self.examination.take(found))

    def _stepped(self) -> None:
        """Look at what the step of an optimizer used, and decide whether to look at the next one."""
        if os.getpid() != self._process:
            return
        if threading.get_ident() != self._thread:
            self.examination.note(_OTHER_THREAD)
            return
        self._updates += 1
        self._steps += 1
        if self._below is not None and (self._over or self._updates % self._every):
            return  # at rest, and there is nothing to wake up for
        if self._over:
            self._active = False
            self._rest_or_return()
            return
        if self._backwards:
            used, self._backwards = self._backwards, []
            self._guarded("accumulation-mean", lambda: self.examination.accumulated(used))
            self._guarded("mean-over-ranks", lambda: self.examination.take(self._ranks.compare()))
        self._budget.ended(self._steps, looked_at=self._active)
        self._steps = 0
        self._active = self._updates % self._every == 0 and self._has_time()
        self._rest_or_return()

    def _has_time(self) -> bool:
        # Ranks are compared at the same step.
        return self._every == 1 or not self._ranks.is_alone() or self._budget.allows_a_look()

    def _rest_or_return(self) -> None:
        """Leave torch alone until the next step to look at: even to pass a call on costs a microsecond."""
        resting = self._below is not None
        stack = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        if self._eagerly is not None:
            (self._eagerly.begin if self._active else self._eagerly.end)()
        # What is compiled would be compiled again without the watch; but not where it never meets the watch.
        recompiles = self._eagerly is None and self._compiles()
        if not self._active and not resting and stack and stack[-1] is self and not recompiles:
            self._below = stack[:-1]
            torch.overrides._pop_mode()  # type: ignore[no-untyped-call]
        elif self._active and self._below is not None and stack == self._below:
            # Only where it was: a mode that the script has entered since must be the one that it leaves.
            self._below = None
            torch.overrides._push_mode(self)  # type: ignore[no-untyped-call]
