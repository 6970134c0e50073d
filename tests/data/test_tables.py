"""A table is read as it is, or the error says where it is wrong."""

import gzip
import pickle

import numpy as np
import polars as pl
import pytest

from crossent.data.tables import read_arrays, read_table
from crossent.errors import DataError

FRAME = pl.DataFrame({"weight": [4.1, None, 12.5], "kind": ["cat", "dog", "dog"], "young": [True, False, None]})


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet", "t.arrow", "t.feather"])
def test_every_format_gives_the_same_table(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".parquet"):
        FRAME.write_parquet(path)
    elif name.endswith((".arrow", ".feather")):
        FRAME.write_ipc(path)
    else:
        text = FRAME.write_csv(separator="\t" if name.endswith(".tsv") else ",").encode()
        write(path, gzip.compress(text) if name.endswith(".gz") else text)
    assert read_table(path).equals(FRAME)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(tmp_path, delimiter):
    path = write(tmp_path / "t.csv", FRAME.write_csv(separator=delimiter))
    assert read_table(path).equals(FRAME)


@pytest.mark.parametrize("mark", ["", "NA", "?", "nan", "NULL"])
def test_the_usual_marks_are_missing_values(tmp_path, mark):
    frame = read_table(write(tmp_path / "t.csv", f"a,b\n1,x\n{mark},y\n"))
    assert frame["a"].to_list() == [1, None]


def test_a_mark_of_the_user_is_a_missing_value(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,x\n-99,y\n")
    assert read_table(path, missing=["-99"])["a"].to_list() == [1, None]


def test_a_text_column_keeps_its_zeros(tmp_path):
    path = write(tmp_path / "t.csv", "code,b\n007,x\n010,y\n")
    assert read_table(path, text_columns=["code", "not there"])["code"].to_list() == ["007", "010"]


def test_quoted_names_are_read_as_they_are_meant(tmp_path):
    names = ['a "q"', "b, c", "d\ne"]
    pl.DataFrame({name: ["007", "x"] for name in names}).write_csv(tmp_path / "t.csv")
    frame = read_table(tmp_path / "t.csv", text_columns=names[:1])
    assert frame.columns == names
    assert frame[names[0]].to_list() == ["007", "x"]


def test_infinite_and_quoted_numbers_are_numbers(tmp_path):
    frame = read_table(write(tmp_path / "t.csv", 'a,b\ninf,"1"\n2,"2.5"\n'))
    assert frame["a"].to_list() == [np.inf, 2.0]
    assert frame["b"].to_list() == [1.0, 2.5]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blank_lines_are_no_rows(tmp_path, end):
    path = write(tmp_path / "t.csv", end.join(["a,b", "1,x", "", "2,y", "", "", "3,z", "", ""]))
    assert read_table(path).rows() == [(1, "x"), (2, "y"), (3, "z")]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = write(tmp_path / "t.csv", b"\xef\xbb\xbfa,b\n1,2\n")
    assert read_table(path).columns == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "holds no rows"),
        ("a,b\n1,2\n3,4,5\n", "row 2: has 3 values where the header has 2"),
        ("a,b\n1,2\n3\n", "row 2: has 1 values where the header has 2"),
        ("a,a\n1,2\n", "column 'a': the header names this column twice"),
        ("a,,c\n1,2,3\n", "gives column 2 no name"),
        (b"a,b\n1,\xff\xfe\n", "is not UTF-8 text"),
        (b"\xff\xfea\x00,\x00b\x00\n\x00", "is not UTF-8 text"),
    ],
)
def test_a_damaged_csv_is_refused_with_its_place(tmp_path, text, message):
    path = write(tmp_path / "t.csv", text)
    with pytest.raises(DataError) as error:
        read_table(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_cut_off_gzip_is_refused(tmp_path):
    rows = "".join(f"{i},{i * i}\n" for i in range(5000))
    path = write(tmp_path / "t.csv.gz", gzip.compress(f"a,b\n{rows}".encode())[:2000])
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        read_table(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_file_that_is_not_its_suffix_is_refused(tmp_path, name):
    path = write(tmp_path / name, "this is no table at all, only text")
    with pytest.raises(DataError, match=name):
        read_table(path)


def test_an_absent_file_a_folder_and_an_unknown_suffix_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match=r"cannot read a \.xlsx file"):
        read_table(write(tmp_path / "t.xlsx", "x"))


def test_arrays_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(3), y=np.array([0, 1, 1]))
    arrays = read_arrays(tmp_path / "a.npz")
    assert arrays["X"].tolist() == np.eye(3).tolist()
    assert arrays["y"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Z": np.eye(2)}, "holds the arrays Z: expected X"),
        ({"X": np.zeros(3)}, r"X is float64 of shape \(3,\)"),
        ({"X": np.array([["a"]])}, "X is <U1"),
        ({"X": np.zeros((0, 2))}, "holds no rows"),
        ({"X": np.eye(2), "y": np.zeros(3)}, r"y has shape \(3,\): expected \(2,\)"),
    ],
)
def test_arrays_of_other_shapes_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_arrays(tmp_path / "a.npz")


class Exploding:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.array([[Exploding()]], dtype=object))
    with pytest.raises(DataError, match="never unpickled"):
        read_arrays(tmp_path / "a.npz")
    write(tmp_path / "b.npz", pickle.dumps(Exploding()))
    with pytest.raises(DataError):
        read_arrays(tmp_path / "b.npz")


def test_a_single_array_is_refused(tmp_path):
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.eye(2))
    with pytest.raises(DataError, match="is a single array"):
        read_arrays(tmp_path / "a.npz")
