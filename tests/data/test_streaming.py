"""A table read in batches is the table read whole: values, types, rows, encoder, and what is wrong with it."""

import gzip
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from crossent.data import TableEncoder, read_dataset
from crossent.data.bad_rows import BadRows
from crossent.data.dataset import Dataset
from crossent.data.encoder import TableFit
from crossent.data.labels import LabelFit, find_classes
from crossent.data.streaming import TableStream
from crossent.data.summaries import Numbers
from crossent.errors import DataError


def people(n, seed=0):
    """Rows of every kind of column, the last third unlike the first."""
    rng = np.random.default_rng(seed)
    late = np.arange(n) > 2 * n // 3
    age = [str(value) if not half else f"{value}.5" for value, half in zip(rng.integers(1, 90, n), late, strict=True)]
    frame = pl.DataFrame(
        {
            "age": pl.Series(age),
            "height": rng.normal(170, 10, n),
            "town": rng.choice(["Oslo", "Bern, BE", 'the "Hague"', "Rome\nLazio"], n),
            "street": [f"street {i % 70}" for i in rng.integers(0, 5000, n)],
            "member": rng.random(n) < 0.3,
            "code": [f"{value:03}" for value in rng.integers(0, 9, n)],
            "kind": rng.choice(["007", "8", "late"], n, p=[0.5, 0.4, 0.1]),
        }
    )
    gone = pl.Series(rng.random(n) < 0.1)
    return frame.with_columns(
        pl.when(gone).then(None).otherwise(pl.col(name)).alias(name) for name in ("height", "town")
    )


OPTIONS = {"label": "kind", "text_columns": ["code"]}


@pytest.fixture(params=["people.csv", "people.csv.gz", "people.parquet", "people.arrow"])
def path(request, tmp_path, monkeypatch):
    monkeypatch.setattr("crossent.data.streaming.BATCH_ROWS", 37)
    frame, path = people(400), tmp_path / request.param
    if request.param.endswith(".csv"):
        frame.write_csv(path)
    elif request.param.endswith(".gz"):
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    else:
        frame = frame.with_columns(pl.col("age").cast(pl.Float64))
        frame.write_parquet(path) if request.param.endswith("parquet") else frame.write_ipc(path)
    return path


def streamed(path, piece_bytes=1000, **more):
    stream = TableStream(path, piece_bytes=piece_bytes, **more)
    stream.survey()
    return stream


@pytest.mark.parametrize("piece_bytes", [200, 1000, 10**6])
def test_the_batches_are_the_table(path, piece_bytes):
    stream = streamed(path, piece_bytes, **OPTIONS)
    batches = list(stream.batches())
    whole = read_dataset(path, **OPTIONS)
    joined = Dataset.concatenated(batches)
    assert joined.features.equals(whole.features)
    assert joined.labels.equals(whole.labels)
    assert joined.rows.tolist() == whole.rows.tolist()
    assert stream.n_rows == 400
    assert len(batches) == 1 or max(map(len, batches)) < 400


def test_the_encoder_and_the_classes_are_those_of_the_table(path):
    whole = read_dataset(path, **OPTIONS)
    expected = TableEncoder.fit(whole, categorical=("code",))
    columns, labels = TableFit(("code",)), LabelFit()
    for batch in streamed(path, **OPTIONS).batches():
        columns.add(batch)
        labels.add(batch)
    found = columns.encoder()
    assert found.notes == expected.notes
    assert len(found.columns) == len(expected.columns) == 6
    for one, other in zip(found.columns, expected.columns, strict=True):
        assert asdict(one) == {
            name: pytest.approx(value, rel=1e-13) if isinstance(value, float) else value
            for name, value in asdict(other).items()
        }
    assert labels.classes("kind") == find_classes(whole, "kind") == ["007", "8", "late"]


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_merged_deviations_are_those_of_all_numbers(scale):
    values = np.random.default_rng(0).normal(3, 2, 1000) * scale
    numbers = Numbers()
    for batch in np.split(values, [1, 2, 500, 990]):
        numbers.add(pl.Series(batch), pl.Series(batch), np.arange(len(batch)))
    assert numbers.mean == pytest.approx(values.mean(), rel=1e-13)
    assert numbers.std == pytest.approx((values / scale).std() * scale, rel=1e-13)


def test_a_column_that_counts_the_rows_is_told_over_batches(tmp_path):
    pl.DataFrame({"id": range(100), "a": [1.0, 2.0] * 50, "y": ["p", "q"] * 50}).write_csv(tmp_path / "t.csv")
    columns = TableFit()
    for batch in streamed(tmp_path / "t.csv", 100, label="y").batches():
        columns.add(batch)
    assert "column 'id' counts the rows" in columns.encoder().notes[0]


def lines_with(bad):
    lines = [f"{i % 7},{i % 3},{'cat' if i % 7 > 3 else 'dog'}" for i in range(300)]
    for row, text in bad.items():
        lines[row - 1] = text
    return "\n".join(["a,b,kind", *lines, ""])


@pytest.mark.parametrize(
    "bad",
    [
        {299: "1,2,dog,4"},
        {299: "1,2"},
        {250: "many,2,dog"},
        {250: "inf,2,dog"},
        {290: "1,2,"},
    ],
)
def test_a_bad_row_is_the_error_that_it_is_in_memory(tmp_path, bad):
    path = tmp_path / "t.csv"
    path.write_text(lines_with(bad))

    def whole():
        dataset = read_dataset(path, label="kind")
        TableEncoder.fit(dataset)
        find_classes(dataset, "kind")

    def in_batches():
        columns, labels = TableFit(), LabelFit()
        for batch in streamed(path, 300, label="kind").batches():
            columns.add(batch)
            labels.add(batch)
        columns.encoder()
        labels.classes("kind")

    with pytest.raises(DataError) as expected:
        whole()
    with pytest.raises(DataError) as found:
        in_batches()
    assert str(found.value) == str(expected.value)
    assert found.value.row == next(iter(bad))


def test_bad_rows_are_left_out_and_counted_as_in_memory(tmp_path):
    path = tmp_path / "t.csv"
    bad = {3: "1,2,dog,4", 70: "many,2,dog", 71: "more,2,dog", 150: "1", 200: "1,inf,cat", 299: "1,2,"}
    path.write_text(lines_with(bad))
    of_whole, of_batches = BadRows(str(path)), BadRows(str(path))
    whole = read_dataset(path, label="kind", bad_rows=of_whole)
    batches = list(streamed(path, 200, label="kind", skip_bad_rows=True).batches(of_batches))
    joined = Dataset.concatenated(batches)
    assert joined.rows.tolist() == whole.rows.tolist()
    assert joined.features.cast(pl.Float64).equals(whole.features.cast(pl.Float64))
    assert set(range(1, 301)) - set(joined.rows.tolist()) == set(bad)
    assert of_batches.note() == of_whole.note()
    assert "6 bad rows left out" in of_batches.note()


def test_a_quotation_mark_that_nothing_closes_does_not_take_the_file_into_memory(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n" + "".join(f"{i},5{chr(34) * (i == 3)} pipe\n" for i in range(50000)))
    with pytest.raises(DataError, match="a quoted value is longer than"):
        streamed(path, 1000, label="kind")


def test_a_file_that_is_cut_off_or_without_rows_is_refused(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(people(400).write_csv().encode())[:2000])
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        streamed(path, label="kind")
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="holds no rows"):
        streamed(tmp_path / "t.csv", label="b")
    (tmp_path / "t.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="--stream"):
        TableStream(tmp_path / "t.npz")
