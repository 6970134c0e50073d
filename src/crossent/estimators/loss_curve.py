"""How the losses of a fit fell, as a plot."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

Floats = npt.NDArray[np.float64]


class LossCurveDisplay:
    """The training and validation log-loss of each epoch; made by ``from_estimator``.

    Parameters
    ----------
    training : sequence of float
        Each epoch's mean training log-loss, in nats.
    validation : sequence of float, optional
        The validation log-loss after each epoch.
    best_iter : int, optional
        The epoch that the parameters are from, counted from 1.
    name : str, optional
        Of the model, for the legend.

    Attributes
    ----------
    ax_, figure_
        matplotlib's axes and figure, once plotted.
    lines_ : list
        The lines: training, then validation where there is one.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crossent.estimators import LossCurveDisplay, SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxClassifier(max_epochs=50, random_state=0).fit(X[::2], y[::2], validation=(X[1::2], y[1::2]))
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> [line.get_label() for line in display.lines_]
    ['training', 'validation']
    """

    def __init__(
        self,
        training: Any,
        validation: Any = None,
        *,
        best_iter: int | None = None,
        name: str | None = None,
    ) -> None:
        self.training = np.asarray(training, dtype=np.float64)
        self.validation = None if validation is None or not len(validation) else np.asarray(validation, np.float64)
        self.best_iter, self.name = best_iter, name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, name: str | None = None, log: bool = True) -> Self:
        """Plot the loss curves of a fitted ``SoftmaxClassifier``.

        Parameters
        ----------
        estimator : SoftmaxClassifier
        ax : matplotlib axes, optional
            Where to plot; by default a new figure.
        name : str, optional
            In the legend before "training" and "validation", to tell models apart.
        log : bool, default=True
            Whether the losses are on a logarithmic scale.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If no epoch was completed.
        """
        check_is_fitted(estimator, "loss_curve_")
        if not estimator.loss_curve_:
            raise ValueError("the estimator has completed no epoch: there is no loss to plot")
        best = estimator.best_iter_ if estimator.validation_scores_ else None
        display = cls(estimator.loss_curve_, estimator.validation_scores_, best_iter=best, name=name)
        return display.plot(ax, log=log)

    def plot(self, ax: Any = None, *, log: bool = True) -> Self:
        """Plot the curves on axes, by default those of a new figure."""
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        before = "" if self.name is None else f"{self.name}, "
        curves = {"training": self.training} | ({} if self.validation is None else {"validation": self.validation})
        self.lines_ = []
        for label, losses in curves.items():
            marker = "o" if len(losses) == 1 else None
            epochs = np.arange(1, len(losses) + 1)
            self.lines_ += ax.plot(epochs, losses, label=before + label, marker=marker)
        if self.best_iter and self.validation is not None and self.best_iter <= len(self.validation):
            ax.plot(
                [self.best_iter],
                [self.validation[self.best_iter - 1]],
                marker="o",
                linestyle="none",
                color=self.lines_[-1].get_color(),
            )
        # A loss of 0 has no logarithm.
        ax.set(xlabel="epoch", ylabel="log-loss (nats)", yscale="log" if log and self._is_positive() else "linear")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _is_positive(self) -> bool:
        curves = [self.training] + ([] if self.validation is None else [self.validation])
        return all(bool((losses > 0).all()) for losses in curves)
