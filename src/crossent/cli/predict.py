"""``crossent predict``: the predicted class and the probability of every class, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossent.cli.evaluate import logits_with_notes
from crossent.errors import DataError, invalid_value

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


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

    Examples:

        crossent predict model new.csv --out predictions.csv

        crossent predict model new.parquet --out predictions.parquet --top 3 --keep id
    """
    import polars as pl

    from crossent.data import load_trained

    _check_out(out)
    trained = load_trained(model)
    dataset = trained.read(data, data_dir=data_dir)
    kept = _kept_columns(dataset.features, keep or [], data)
    logits = logits_with_notes(trained, dataset)
    columns = _most_probable(logits, trained.classes, top) if top else _every_class(logits, trained.classes)
    prediction = pl.Series(label_column, [trained.classes[c] for c in logits.argmax(axis=1)])
    names = [column.name for column in (*kept, prediction, *columns)]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        problem = f"two columns would be called {sorted(twice)[0]!r}: choose another --label-column or --keep"
        raise DataError(problem, path=out)
    write_table(pl.DataFrame([*kept, prediction, *columns]), out)
    typer.echo(f"{len(dataset):,} predictions written to {out}")


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as CSV or Parquet, whole or not at all."""
    from crossent.data.files import whole_or_nothing

    with whole_or_nothing(path) as temporary:
        if path.suffix.lower() == ".csv":
            frame.write_csv(temporary)
        else:
            frame.write_parquet(temporary)


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
