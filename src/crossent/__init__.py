"""Cross-entropy, its gradient, and training with it: accurate to the last bits, explained, fast on a CPU.

Names are loaded when they are first used, so that ``import crossent`` stays quick and brings in nothing but NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from crossent.cpu import cpu_level, cpu_levels
    from crossent.estimators.loss_curve import LossCurveDisplay
    from crossent.estimators.softmax_classifier import SoftmaxClassifier
    from crossent.explanation import Comparison, Explanation, compare, explain
    from crossent.head.plan import HeadPlan, head_plan
    from crossent.loss import LossGrad, cross_entropy, cross_entropy_and_grad
    from crossent.probabilities import cross_entropy_from_probs, entropy, kl_divergence
    from crossent.simplex import Certificate, Differential, Path, differential, differential_from_logits

_HOMES = {
    "Certificate": "simplex",
    "Comparison": "explanation",
    "Differential": "simplex",
    "Explanation": "explanation",
    "HeadPlan": "head.plan",
    "LossCurveDisplay": "estimators.loss_curve",
    "LossGrad": "loss",
    "Path": "simplex",
    "SoftmaxClassifier": "estimators.softmax_classifier",
    "compare": "explanation",
    "cpu_level": "cpu",
    "cpu_levels": "cpu",
    "cross_entropy": "loss",
    "cross_entropy_and_grad": "loss",
    "cross_entropy_from_probs": "probabilities",
    "differential": "simplex",
    "differential_from_logits": "simplex",
    "entropy": "probabilities",
    "explain": "explanation",
    "head_plan": "head.plan",
    "kl_divergence": "probabilities",
}

__all__ = [
    "Certificate",
    "Comparison",
    "Differential",
    "Explanation",
    "HeadPlan",
    "LossCurveDisplay",
    "LossGrad",
    "Path",
    "SoftmaxClassifier",
    "__version__",
    "compare",
    "cpu_level",
    "cpu_levels",
    "cross_entropy",
    "cross_entropy_and_grad",
    "cross_entropy_from_probs",
    "differential",
    "differential_from_logits",
    "entropy",
    "explain",
    "head_plan",
    "kl_divergence",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'crossent' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"crossent.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
