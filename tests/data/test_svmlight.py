"""libsvm files are read as scikit-learn writes them, or the error names the line that is wrong."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file

from crossent.data import Dataset, read_dataset
from crossent.data.encoder import SparseEncoder, encoder_from_json, fit_encoder
from crossent.data.tables import line_of_row, read_svmlight
from crossent.errors import DataError


@pytest.fixture
def rows():
    x = sp.random(40, 12, 0.3, "csr", np.float32, random_state=0)
    return x, np.arange(40) % 3


@pytest.mark.parametrize("zero_based", [True, False])
def test_a_file_is_read_as_it_was_written(tmp_path, rows, zero_based):
    x, y = rows
    dump_svmlight_file(x, y, str(tmp_path / "a.svm"), zero_based=zero_based)
    read, labels = read_svmlight(tmp_path / "a.svm")
    shift = 0 if zero_based else 1
    assert read.dtype == np.float32
    np.testing.assert_allclose(read.toarray()[:, shift:], x.toarray()[:, : read.shape[1] - shift], rtol=1e-6)
    np.testing.assert_array_equal(labels, y)


def test_its_labels_are_classes_and_its_rows_can_be_taken(tmp_path, rows):
    x, y = rows
    dump_svmlight_file(x, y, str(tmp_path / "a.libsvm"))
    data = read_dataset(tmp_path / "a.libsvm")
    assert data.labels[:4].to_list() == ["0", "1", "2", "0"]
    part = data.take(np.array([5, 2]))
    assert part.rows.tolist() == [6, 3]
    np.testing.assert_array_equal(part.features.toarray(), data.features.toarray()[[5, 2]])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 3:x", "'3:x'"),
        ("cat 1:2", "'cat'"),
        ("1 2:1 1:1", "'1:1'"),
        ("1 1:nan", "'1:nan'"),
        ("1 1:1e999", "'1:1e999'"),
        ("inf 1:1", "'inf'"),
        ("1 99999999999:1", "'99999999999:1'"),
        ("1 -3:1", "'-3:1'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, problem):
    path = tmp_path / "a.svm"
    path.write_text(f"# made by hand\n0 1:1\n\n{line}\n")
    with pytest.raises(DataError, match="row 2") as caught:
        read_svmlight(path)
    assert problem in str(caught.value)
    assert line_of_row(path, caught.value.row) == 4


def test_an_empty_file_holds_no_rows(tmp_path):
    (tmp_path / "a.svm").write_text("")
    with pytest.raises(DataError):
        read_svmlight(tmp_path / "a.svm")


def test_an_index_that_training_lacked_is_counted_and_fewer_are_zeros():
    train = Dataset("a.svm", sp.csr_matrix(np.eye(3, 4, dtype=np.float32)), np.arange(1, 4))
    encoder = encoder_from_json(fit_encoder(train).to_json())
    assert encoder == SparseEncoder(4)
    wide = Dataset("b.svm", sp.csr_matrix(np.eye(3, 6, 2, dtype=np.float32)), np.arange(1, 4))
    encoded = encoder.transform(wide)
    assert encoded.unknown == {"4 and above": 1}
    np.testing.assert_array_equal(encoded.x.toarray(), np.eye(3, 4, 2))
    narrow = Dataset("c.svm", sp.csr_matrix(np.eye(2, dtype=np.float32)), np.arange(1, 3))
    np.testing.assert_array_equal(encoder.transform(narrow).x.toarray(), np.eye(2, 4))
