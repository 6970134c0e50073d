"""How to train, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt

from crossent.training.optimizer import Name
from crossent.training.schedule import Schedule

StopReason = Literal["max_epochs", "early_stopping", "tol", "callback", "interrupt", "divergence", "precision"]


@dataclass(frozen=True)
class Gap:
    """A lower bound of ``objective - minimum``, in nats.

    Attributes
    ----------
    bound : float
    feature : int or None
        Changing this feature's weights alone lowers the objective by that much; None for the biases.
    gradient_norm : float
        Euclidean norm of the objective's gradient in all weights and biases.
    """

    bound: float
    feature: int | None
    gradient_norm: float


@dataclass(frozen=True)
class TrainingOptions:
    """How to train: ``SoftmaxClassifier``'s parameters of the same names, with every "auto" but one decided.

    ``learning_rate=None`` lets the data choose. ``patience`` is how many epochs may pass without a validation log-loss
    lower by ``tol``, None for any number; ``tol_patience`` the same for the training log-loss. ``l1`` is the weight of
    the sum of absolute values, ``average`` the share of the steps, from the last back, whose parameters are averaged.
    """

    optimizer: Name = "sgd"
    learning_rate: float | None = None
    schedule: Schedule = "linear"
    momentum: float = 0.9
    nesterov: bool = False
    l1: float = 0.0
    dropout: float = 0.0
    feature_rates: bool = True
    average: float = 0.0
    max_epochs: int = 10
    tol: float = 0.0
    patience: int | None = None
    tol_patience: int | None = None
    n_threads: int = 1


@dataclass
class TrainingResult:
    """The trained parameters, for raw rows, and how they came about.

    Attributes
    ----------
    weights, biases : list of arrays, (inputs, outputs) and (outputs,) per layer
    loss_curve : list of float
        Each epoch's mean training log-loss in nats, without the penalty, every batch's taken before its step.
    validation_losses, validation_accuracies : list of float
        After each epoch, where there are validation rows.
    n_epochs : int
        Epochs that were completed.
    best_epoch : int
        The epoch that the parameters are from: the last, unless the validation log-loss of another is clearly less.
    learning_rate : float
        The greatest step of the schedule, after any halving.
    n_halvings : int
        How often the step was halved because the training diverged.
    gap : Gap or None
        How far a linear model that ran all its epochs is from its minimum at least.
    stop_reason : {"max_epochs", "early_stopping", "tol", "callback", "interrupt", "divergence", "precision"}
    interruption : KeyboardInterrupt or None
        What ended the training, for the caller to raise again once the result is kept.
    """

    weights: list[npt.NDArray[Any]] = field(default_factory=list)
    biases: list[npt.NDArray[Any]] = field(default_factory=list)
    loss_curve: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    n_epochs: int = 0
    best_epoch: int = 0
    learning_rate: float = 0.0
    n_halvings: int = 0
    gap: Gap | None = None
    stop_reason: StopReason = "max_epochs"
    interruption: KeyboardInterrupt | None = None
