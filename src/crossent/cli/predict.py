"""``crossent predict``: the predicted class and the probability of every class, to a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossent.cli.evaluate import RowNotes
from crossent.errors import DataError, invalid_value

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from crossent.data import TrainedModel


def command(
    model: Annotated[Path, typer.Argument(help="Directory written by crossent train.")],
    data: Annotated[str, typer.Argument(help="A file, or digits or fashion-mnist (their test part).")],
    out: Annotated[Path, typer.Option(help="File to write: .csv or .parquet.")],
    label_column: Annotated[str, typer.Option(help="Name of the column of predicted classes.")] = "prediction",
    top: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Only the K most probable classes of each row.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Copy a column of the data, such as an id. Repeatable."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the files of Fashion-MNIST.")] = None,
) -> None:
    """Predict every row of a file: the class, and one probability per class (p_CLASS), in the order of the rows.

    A table is read and written in batches, so that it may be larger than memory.

    Examples:

        crossent predict model new.csv --out predictions.csv

        crossent predict model new.parquet --out predictions.parquet --top 3 --keep id
    """
    from crossent.data import load_trained
    from crossent.data.files import whole_or_nothing

    _check_out(out)
    trained = load_trained(model)
    notes = RowNotes(trained, data)
    frames = _predictions(trained, data, data_dir, notes, label_column, top, keep or [], out)
    with whole_or_nothing(out) as temporary:
        n_rows = write_frames(frames, temporary, as_csv=out.suffix.lower() == ".csv")
    notes.tell()
    typer.echo(f"{n_rows:,} predictions written to {out}")


def _predictions(
    trained: TrainedModel,
    data: str,
    data_dir: Path | None,
    notes: RowNotes,
    label_column: str,
    top: int | None,
    keep: list[str],
    out: Path,
) -> Iterator[pl.DataFrame]:
    import polars as pl

    for dataset in trained.batches(data, of_equal_types=bool(keep), data_dir=data_dir):
        kept = _kept_columns(dataset.features, keep, data)
        logits = notes.logits(dataset)
        columns = _most_probable(logits, trained.classes, top) if top else _every_class(logits, trained.classes)
        prediction = pl.Series(label_column, [trained.classes[c] for c in logits.argmax(axis=1)])
        _refuse_equal_names([column.name for column in (*kept, prediction, *columns)], out)
        yield pl.DataFrame([*kept, prediction, *columns])


def write_frames(frames: Iterator[pl.DataFrame], path: Path, *, as_csv: bool) -> int:
    """Write frames of the same columns one after another, as CSV or Parquet, and return how many rows they have."""
    import polars as pl

    n_rows = 0
    if as_csv:
        with path.open("wb") as file:
            for frame in frames:
                frame.write_csv(file, include_header=n_rows == 0)
                n_rows += frame.height
        return n_rows
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder:
        for at, frame in enumerate(frames):
            frame.write_parquet(Path(folder, f"{at:08}.parquet"))
            n_rows += frame.height
        pl.scan_parquet(Path(folder, "*.parquet")).sink_parquet(path)
    return n_rows


def _refuse_equal_names(names: list[str], out: Path) -> None:
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        problem = f"two columns would be called {sorted(twice)[0]!r}: choose another --label-column or --keep"
        raise DataError(problem, path=out)


def _check_out(out: Path) -> None:
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise invalid_value("--out", str(out), "a file ending in .csv or .parquet")
    if not out.parent.is_dir():
        raise DataError(f"cannot be written: there is no folder {out.parent}", path=out)


def _kept_columns(features: object, keep: list[str], data: str) -> list[pl.Series]:
    import polars as pl

    from crossent.data.dataset import find_column

    if keep and not isinstance(features, pl.DataFrame):
        raise DataError("holds images: there are no columns to keep", path=data)
    columns = []
    for name in keep:
        assert isinstance(features, pl.DataFrame)
        find_column(name, features.columns, data, "--keep")
        columns.append(features[name])
    return columns


def _every_class(logits: NDArray[np.float64], classes: list[str]) -> list[pl.Series]:
    import polars as pl
    from scipy.special import softmax

    probs = softmax(logits, axis=1)
    return [pl.Series(f"p_{name}", probs[:, c]) for c, name in enumerate(classes)]


def _most_probable(logits: NDArray[np.float64], classes: list[str], k: int) -> list[pl.Series]:
    import numpy as np
    import polars as pl
    from scipy.special import softmax

    probs = softmax(logits, axis=1)
    order = np.argsort(-logits, axis=1, kind="stable")[:, : min(k, len(classes))]
    columns = []
    for rank, chosen in enumerate(order.T, start=1):
        columns.append(pl.Series(f"top_{rank}", [classes[c] for c in chosen]))
        columns.append(pl.Series(f"top_{rank}_p", np.take_along_axis(probs, chosen[:, None], axis=1)[:, 0]))
    return columns
