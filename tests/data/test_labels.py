"""Labels become classes, or the error names the row."""

import numpy as np
import polars as pl
import pytest

from crossent.data import read_dataset
from crossent.data.labels import drop_missing_labels, encode_labels, find_classes
from crossent.errors import DataError


def read(tmp_path, text, **options):
    path = tmp_path / "t.csv"
    path.write_text(text)
    return read_dataset(path, label="y", **options)


def test_classes_are_ordered_by_number_or_by_name(tmp_path):
    numbers = read(tmp_path, "a,y\n1,10\n2,9\n3,100\n")
    assert find_classes(numbers, "y") == ["9", "10", "100"]
    assert encode_labels(numbers, ["9", "10", "100"], "y").tolist() == [1, 0, 2]
    assert find_classes(read(tmp_path, "a,y\n1,b\n2,a\n3,10\n"), "y") == ["10", "a", "b"]


def test_the_classes_of_an_enum_keep_their_order(tmp_path):
    pl.DataFrame({"a": [1, 2], "y": pl.Series(["low", "high"], dtype=pl.Enum(["low", "mid", "high"]))}).write_parquet(
        tmp_path / "t.parquet"
    )
    data = read_dataset(tmp_path / "t.parquet", label="y")
    assert find_classes(data, "y") == ["low", "high"]
    assert encode_labels(data, ["low", "high"], "y").tolist() == [0, 1]


@pytest.mark.parametrize("y", [[1, 0], [1.0, 0.0], np.array([1, 0], np.uint8)])
def test_labels_of_any_number_type_are_the_same_classes(tmp_path, y):
    pl.DataFrame({"a": [1, 2], "y": y}).write_parquet(tmp_path / "t.parquet")
    data = read_dataset(tmp_path / "t.parquet", label="y")
    assert data.labels.to_list() == ["1", "0"]
    np.savez(tmp_path / "t.npz", X=np.eye(2), y=y)
    assert read_dataset(tmp_path / "t.npz").labels.to_list() == ["1", "0"]


def test_labels_in_a_csv_keep_their_zeros(tmp_path):
    assert read(tmp_path, "a,y\n1,07\n2,7\n").labels.to_list() == ["07", "7"]


def test_a_missing_label_is_refused_with_its_row_or_left_out(tmp_path):
    data = read(tmp_path, "a,y\n1,x\n2,NA\n3,y\n4,\n")
    with pytest.raises(DataError, match=r"t\.csv, column 'y', row 2: 2 rows have no label .*--drop-missing-label"):
        find_classes(data, "y")
    kept, n = drop_missing_labels(data)
    assert n == 2
    assert kept.rows.tolist() == [1, 3]
    assert kept.features["a"].to_list() == [1, 3]


def test_one_class_and_too_many_classes_are_refused(tmp_path):
    with pytest.raises(DataError, match="every label is 'x'"):
        find_classes(read(tmp_path, "a,y\n1,x\n2,x\n"), "y")
    rows = "".join(f"{i},{i / 7}\n" for i in range(200))
    with pytest.raises(DataError, match="200 different labels in 200 rows"):
        find_classes(read(tmp_path, "a,y\n" + rows), "y")


def test_an_unknown_label_is_refused_with_its_row(tmp_path):
    data = read(tmp_path, "a,y\n1,x\n2,z\n")
    with pytest.raises(DataError, match=r"column 'y', row 2: 'z' is none of the 2 classes"):
        encode_labels(data, ["x", "y"], "y")


def test_an_absent_column_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "t.csv").write_text("a,kind\n1,x\n")
    with pytest.raises(DataError, match=r"there is no column 'Kind' \(--label\): did you mean 'kind'\?"):
        read_dataset(tmp_path / "t.csv", label="Kind")
    with pytest.raises(DataError, match="the columns are a, y"):
        read(tmp_path, "a,y\n1,x\n", drop=["quite other"])


def test_weights_are_read_and_are_no_features(tmp_path):
    data = read(tmp_path, "a,w,y\n1,0.5,x\n2,2,y\n", weight="w")
    assert data.weights.tolist() == [0.5, 2]
    assert data.features.columns == ["a"]


@pytest.mark.parametrize("bad", ["-1", "NA", "inf", "nan", "heavy"])
def test_a_bad_weight_is_refused_with_its_row(tmp_path, bad):
    with pytest.raises(DataError, match=r"column 'w', row 2: .* is no sample weight"):
        read(tmp_path, f"a,w,y\n1,1,x\n2,{bad},y\n", weight="w")


def test_weights_that_are_all_0_are_refused(tmp_path):
    with pytest.raises(DataError, match="every sample weight is 0"):
        read(tmp_path, "a,w,y\n1,0,x\n2,0,y\n", weight="w")


def test_a_table_of_labels_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="no columns are left"):
        read(tmp_path, "a,y\n1,x\n2,y\n", drop=["a"])


def test_arrays_without_labels_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.eye(2))
    with pytest.raises(DataError, match="holds no labels: expected an array y"):
        find_classes(read_dataset(tmp_path / "t.npz"), "y")
    np.savez(tmp_path / "t.npz", X=np.eye(2), y=np.array([1j, 2]))
    with pytest.raises(DataError, match="column 'y': is complex128"):
        read_dataset(tmp_path / "t.npz")


def test_labels_that_are_no_text_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=np.array(["a", "\ud800"]))
    with pytest.raises(DataError, match=r"a\.npz, column 'y': holds what is no text \(surrogates not allowed\)"):
        read_dataset(tmp_path / "a.npz")
