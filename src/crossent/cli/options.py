"""What ``crossent train`` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossent.data.text import TEXT_FEATURES


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
    hidden: tuple[int, ...] = (128,)
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | str = "auto"
    alpha: float | None = None
    class_weight: str | None = None
    label_smoothing: float = 0.0
    validation: float = 0.1
    patience: int | None = None
    test: str | float | None = None
    out: Path = Path("model")
    report: bool = True
    seed: int = 0
    threads: int | None = None
    data_dir: Path | None = None
    compare: str | None = None
    quiet: bool = False
