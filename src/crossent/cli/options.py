"""What ``crossent train`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from crossent.data.builtin import NAMES
from crossent.data.text import TEXT_FEATURES
from crossent.errors import invalid_choice

# Options that the model does not hang on: a run may be resumed with others.
WITHOUT_INFLUENCE = ("out", "report", "compare", "quiet", "resume", "data_dir")
DEFAULT_VALIDATION = 0.1
# What says how to descend: whoever gives one of these wants the descent.
OF_SGD = (
    *("optimizer", "schedule", "momentum", "average", "epochs", "batch_size", "tol", "patience"),
    *("l1_ratio", "dropout"),
)


@dataclass(frozen=True)
class Options:
    """What ``crossent train`` was asked for; None leaves the choice to the classifier."""

    data: str
    label: str | None = None
    label_probs: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    text_features: int = TEXT_FEATURES
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    drop_missing_label: bool = False
    skip_bad_rows: bool = False
    sample_weight: str | None = None
    stream: bool | None = None
    hidden: tuple[int, ...] = (128,)
    alpha: float | None = None
    l1_ratio: float | None = None
    dropout: float | None = None
    class_weight: str | Mapping[str, float] | None = None
    label_smoothing: float = 0.0
    center: bool = True
    feature_rates: bool = True
    solver: str | None = None
    optimizer: str | None = None
    learning_rate: float | str = "auto"
    schedule: str | None = None
    momentum: float | None = None
    nesterov: bool = False
    average: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    tol: float | None = None
    dtype: str | None = None
    validation: float | None = None
    patience: int | None = None
    calibrate: bool = False
    test: str | float | None = None
    out: Path = Path("model")
    resume: bool = False
    report: bool = True
    seed: int = 0
    threads: int | None = None
    data_dir: Path | None = None
    compare: str | None = None
    quiet: bool = False

    @property
    def chooses_solver(self) -> bool:
        """Whether a linear model's size is to choose the solver: no option of the descent is given."""
        of_sgd = any(getattr(self, name) is not None for name in OF_SGD) or self.learning_rate != "auto"
        return self.solver is None and not self.hidden and not (of_sgd or self.nesterov or not self.feature_rates)

    @property
    def validation_share(self) -> float:
        """The share of rows held out; of themselves none for the exact solver, unless they calibrate or are scored."""
        if self.validation is not None:
            return self.validation
        tested = bool(self.test) or (self.test is None and self.data in NAMES)
        return 0.0 if self.solver == "exact" and tested and not self.calibrate else DEFAULT_VALIDATION

    def parameters(self, classes: list[str] | None = None) -> dict[str, Any]:
        """Return the classifier's parameters; ``classes`` numbers those that weights are given for."""
        weight: Any = self.class_weight
        if isinstance(weight, Mapping):
            unknown = sorted(weight.keys() - set(classes)) if classes is not None else []
            if unknown:
                raise invalid_choice("--class-weight", unknown[0], (classes or [])[:20])
            weight = {at: weight.get(name, 1.0) for at, name in enumerate(classes or ())} or None
        given = {
            "alpha": self.alpha,
            "l1_ratio": self.l1_ratio,
            "dropout": self.dropout,
            "class_weight": weight,
            "label_smoothing": self.label_smoothing,
            "center": self.center,
            "feature_rates": self.feature_rates,
            "solver": self.solver,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "average": self.average,
            "max_epochs": self.epochs,
            "batch_size": self.batch_size,
            "tol": self.tol,
            "dtype": self.dtype,
            # Without a given patience the step falls to its end, and the best epoch on the way is kept: while the
            # step is large the validation loss rises and falls by chance, and stopping then loses the best part.
            "early_stopping": self.patience is not None,
            "n_iter_no_change": self.patience,
            "calibrate": self.calibrate,
            "n_threads": self.threads,
            "random_state": self.seed,
        }
        return {"hidden_layer_sizes": self.hidden} | {name: value for name, value in given.items() if value is not None}

    def as_text(self) -> dict[str, str]:
        """Return the options that make up a run, by the names they have on the command line."""
        shown = (field.name for field in fields(self) if field.name not in WITHOUT_INFLUENCE)
        return {name if name == "data" else f"--{name.replace('_', '-')}": str(getattr(self, name)) for name in shown}
