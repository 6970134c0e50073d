"""The epochs of a fit as tasks of scikit-learn's callbacks."""

from __future__ import annotations

from typing import Any

from crossent.training import TrainingEvent


class EpochTasks:
    """A ``TrainingEvent`` callback that makes each epoch a task of scikit-learn's callbacks.

    Nothing is told, and nothing copied, where the estimator has no callbacks.
    """

    def __init__(self, estimator: Any, max_epochs: int, X: Any, y: Any, metadata: dict[str, Any]) -> None:
        self.estimator = estimator
        self.data = {"X": X, "y": y, "metadata": metadata or None}
        self.root: Any = None
        self.epoch: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self.root = estimator._init_callback_context(max_subtasks=max_epochs)
            self.root.call_on_fit_task_begin(estimator=estimator, **self.data)

    def __call__(self, event: TrainingEvent) -> bool:
        if self.root is None or not (getattr(self.estimator, "_skl_callbacks", None)):
            return False
        if self.epoch is None:
            self.epoch = self._begin()
        if event.kind != "epoch":
            return False

        def fitted() -> dict[str, Any]:
            weights, biases = event.parameters()
            return {"coefs_": weights, "intercepts_": biases, "temperature_": 1.0, "n_iter_": event.epoch}

        stop = self.epoch.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes=fitted)
        self.epoch = None
        return bool(stop)

    def finish(self) -> None:
        """Tell that the run is over and the estimator fitted."""
        if self.epoch is not None:
            # An epoch that was broken off.
            self.epoch.call_on_fit_task_end(estimator=self.estimator)
        if self.root is not None:
            self.root.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes={})

    def _begin(self) -> Any:
        task = self.root.subcontext(task_name="epoch")
        return task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
