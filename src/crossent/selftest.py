"""``python -m crossent.selftest``: whether what is installed here keeps its promises, in a few seconds.

Losses and gradients of every CPU level are compared with 60-digit arithmetic, threads must not change a bit, and a
model is trained, saved, loaded and asked again. Needs nothing beyond the package itself.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np

from crossent.arrays import Array
from crossent.cpu import cpu_levels, use_level
from crossent.loss import cross_entropy_and_grad

DIGITS = 60
# Promised for hard labels, in ulp: loss, target entry, other entries.
PROMISE = {"float32": (4, 5, 8), "float64": (4, 5, 8), "float16": (1, 1, 1)}
MARGINS = (0.0, 1.0, 10.0, 17.0, 40.0, 80.0)


def check_level(level: str) -> str:
    """Compare one level's loss and gradient with exact values; return the worst errors."""
    worst = dict.fromkeys(PROMISE, (0.0, 0.0, 0.0))
    rng = np.random.default_rng(0)
    for dtype in PROMISE:
        for classes in (2, 10, 33):
            for margin in MARGINS:
                logits = (2 * rng.standard_normal(classes)).astype(dtype)
                label = int(rng.integers(classes))
                logits[label] = logits.max() + np.asarray(min(margin, 10) if dtype == "float16" else margin, dtype)
                with use_level(level):
                    found = cross_entropy_and_grad(logits[None], np.array([label]), reduction="none")
                errors = _errors(logits, label, found.loss[0], found.grad[0])
                worst[dtype] = tuple(max(a, b) for a, b in zip(worst[dtype], errors, strict=True))  # type: ignore[assignment]
    for dtype, promise in PROMISE.items():
        if not all(error <= most for error, most in zip(worst[dtype], promise, strict=True)):
            raise AssertionError(f"{dtype}: {worst[dtype]} ulp where {promise} are promised")
    return "; ".join(f"{dtype} {'/'.join(f'{error:.1f}' for error in worst[dtype])} ulp" for dtype in PROMISE)


def _errors(logits: Array, label: int, loss: np.floating, grad: Array) -> tuple[float, float, float]:
    with localcontext() as context:
        context.prec = DIGITS
        powers = [Decimal(float(z)).exp() for z in logits]
        total = sum(powers, Decimal(0))
        others = total - powers[label]
        entries = [-others / total if c == label else powers[c] / total for c in range(len(powers))]
        errors = [_ulps(found, exact) for found, exact in zip(grad, entries, strict=True)]
        return (
            _ulps(loss, (total / powers[label]).ln()),
            errors[label],
            max(error for c, error in enumerate(errors) if c != label),
        )


def _ulps(found: np.floating, exact: Decimal) -> float:
    unit = np.spacing(abs(np.asarray(float(exact), found.dtype)))
    return float(abs(Decimal(float(found)) - exact) / Decimal(float(unit)))


def check_threads() -> str:
    """Compare the bits that one, two and five threads give."""
    rng = np.random.default_rng(1)
    logits, labels = rng.standard_normal((3000, 41)).astype(np.float32), rng.integers(0, 41, 3000)
    one, *others = (cross_entropy_and_grad(logits, labels, n_threads=n) for n in (1, 2, 5))
    for other in others:
        if not (one.loss == other.loss and np.array_equal(one.grad, other.grad)):
            raise AssertionError("the number of threads changes the result")
    return "the same bits for 1, 2 and 5"


def check_training() -> str:
    """Train on scikit-learn's digits, save, load, and predict as before."""
    from sklearn.datasets import load_digits

    from crossent.estimators import SoftmaxClassifier
    from crossent.estimators.model_files import load_model, save_model

    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier((32,), random_state=0, max_epochs=10).fit(x[::2], y[::2])
    accuracy = model.score(x[1::2], y[1::2])
    if accuracy < 0.9:
        raise AssertionError(f"accuracy {accuracy:.3f} on digits: expected 0.9 or more")
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder, "model"), model)
        loaded = load_model(Path(folder, "model")).estimator
    if not np.array_equal(loaded.predict_proba(x), model.predict_proba(x)):
        raise AssertionError("the loaded model predicts otherwise than the saved one")
    return f"digits {100 * accuracy:.1f} % right; saved, loaded, the same probabilities"


def main() -> int:
    """Run every check, say what came of it, and return the exit status."""
    checks: list[tuple[str, Callable[[], str]]] = [
        *((f"accuracy, {level}", lambda level=level: check_level(level)) for level in cpu_levels()),
        ("threads", check_threads),
        ("training", check_training),
    ]
    failed, start = 0, time.perf_counter()
    for name, check in checks:
        try:
            print(f"ok      {name}: {check()}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(checks) - failed} of {len(checks)} checks passed in {time.perf_counter() - start:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
