"""scikit-learn's callbacks (``set_callbacks``, from its version 1.9 on), told of the run and of each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:  # scikit-learn before 1.9: the estimator is the same, without set_callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to add."""

    def _with_callbacks(method: Any) -> Any:
        return method


__all__ = ["CallbackSupportMixin", "with_callbacks"]


def with_callbacks(method: Method) -> Method:
    """Return a ``fit`` that tears its callbacks down however it ends."""
    wrapped: Method = _with_callbacks(method)
    return wrapped
