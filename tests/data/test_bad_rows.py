"""Rows that cannot be used end the reading, or are left out and told, each with its row and line."""

import numpy as np
import pytest

from crossent.data import read_dataset
from crossent.data.bad_rows import BadRows
from crossent.data.tables import line_of_row
from crossent.errors import DataError

GOOD = [f"{i}.5,word{i % 3},cat" for i in range(30)]


def write(tmp_path, changes, header="a,b,kind"):
    lines = list(GOOD)
    for row, text in changes.items():
        lines[row - 1] = text
    path = tmp_path / "t.csv"
    path.write_bytes("\n".join([header, *lines, ""]).encode("latin-1"))
    return path


BAD = {
    "too few values": "1,x",
    "too many values": "1,x,cat,9",
    "text among numbers": "one,x,cat",
    "infinity": "inf,x,cat",
    "no label": "1,x,",
    "no UTF-8": "1,\xe9,cat",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_row_is_left_out_and_told(tmp_path, text):
    path = write(tmp_path, {7: text})
    bad = BadRows(str(path))
    data = read_dataset(path, label="kind", bad_rows=bad)
    assert list(bad.problems) == [7]
    assert data.rows.tolist() == [row for row in range(1, 31) if row != 7]
    assert data.features["a"].to_list() == [row - 0.5 for row in data.rows]
    assert data.features["a"].dtype.is_float()
    assert "1 bad row left out" in bad.note()
    assert "row 7" in bad.note()


def test_all_of_them_together_are_counted(tmp_path):
    rows = {3 + 2 * i: text for i, text in enumerate(BAD.values())}
    path = write(tmp_path, rows)
    bad = BadRows(str(path))
    data = read_dataset(path, label="kind", bad_rows=bad)
    assert sorted(bad.problems) == sorted(rows)
    assert len(data) == 30 - len(rows)
    assert f"{len(rows)} bad rows left out" in bad.note()
    assert f"and {len(rows) - 3} more" in bad.note()


def test_a_good_file_is_read_as_without(tmp_path):
    path = write(tmp_path, {})
    bad = BadRows(str(path))
    data = read_dataset(path, label="kind", bad_rows=bad)
    assert bad.note() is None
    assert data.features.equals(read_dataset(path, label="kind").features)


def test_words_and_missing_values_are_not_bad(tmp_path):
    path = write(tmp_path, {4: ",,cat", 5: "2,x,dog"})
    bad = BadRows(str(path))
    assert len(read_dataset(path, label="kind", bad_rows=bad)) == 30
    assert not bad.problems


@pytest.mark.parametrize("probs", ["0.5,x", "-0.5,1.5", "nan,1"])
def test_a_row_without_probabilities_is_bad(tmp_path, probs):
    path = tmp_path / "t.csv"
    path.write_text("a,p_cat,p_dog\n" + "1,0.5,0.5\n" * 20 + f"2,{probs}\n")
    with pytest.raises(DataError, match="row 21"):
        read_dataset(path, label_probs=("p_cat", "p_dog"))
    bad = BadRows(str(path))
    assert len(read_dataset(path, label_probs=("p_cat", "p_dog"), bad_rows=bad)) == 20
    assert list(bad.problems) == [21]


def test_a_file_of_bad_rows_only_is_an_error(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n1\n2\n")
    with pytest.raises(DataError, match=r"bad rows only|no rows"):
        read_dataset(path, label="kind", bad_rows=BadRows(str(path)))


def test_the_line_of_a_row_counts_quoted_ends_of_lines_and_empty_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"two\nlines"\n\n3,4\n')
    assert [line_of_row(path, row) for row in (1, 2, 3)] == [3, 5, None]


def test_probabilities_are_divided_by_their_sum_and_named_after_their_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,p_cat,p_dog,p_emu\n1,0.33,0.33,0.33\n2,1,0,0\n")
    data = read_dataset(path, label_probs=("p_cat", "p_dog", "p_emu"))
    assert data.label_probs.columns == ["cat", "dog", "emu"]
    np.testing.assert_allclose(data.label_probs.to_numpy(), [[1 / 3] * 3, [1, 0, 0]], rtol=1e-12)
    assert data.features.columns == ["a"]


def test_probabilities_that_sum_to_something_else_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,cat,dog\n1,0.5,0.5\n2,0.5,0.4\n")
    with pytest.raises(DataError, match=r"row 2.*sum to 0\.9"):
        read_dataset(path, label_probs=("cat", "dog"))
