"""Free text becomes hashed n-grams after the other columns' features."""

import json

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from crossent.data import Dataset, TableEncoder
from crossent.data.encoder import encoder_from_json
from crossent.errors import DataError


def table(**columns):
    frame = pl.DataFrame(columns)
    return Dataset("t.csv", frame, np.arange(1, frame.height + 1))


def test_rows_are_sparse_with_the_text_last():
    data = table(name=["Anna", "Otto", None], age=[1.0, 2.0, 3.0])
    encoder = TableEncoder.fit(data, text=("name",), text_features=64)
    x = encoder.transform(data).x
    assert sp.issparse(x)
    assert x.shape == (3, 65) == (3, len(encoder.feature_names))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0].toarray().ravel(), [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    np.testing.assert_allclose(sp.linalg.norm(x[:, 1:], axis=1), [1, 1, 0], rtol=1e-6)


def test_equal_words_have_equal_features_and_near_ones_near_features():
    data = table(name=["Johansson", "Johansson", "Johanson", "Wu"])
    x = TableEncoder.fit(data, text=("name",)).transform(data).x
    similarity = (x @ x.T).toarray()
    assert similarity[0, 1] == pytest.approx(1)
    assert similarity[0, 2] > 0.7 > 0.2 > similarity[0, 3]


def test_an_encoder_restored_from_json_gives_the_same_rows():
    data = table(name=["a b", "c"], age=[1.0, 2.0])
    encoder = TableEncoder.fit(data, text=("name",), text_features=32)
    restored = encoder_from_json(json.loads(json.dumps(encoder.to_json())))
    assert restored == encoder
    np.testing.assert_array_equal(restored.transform(data).x.toarray(), encoder.transform(data).x.toarray())
    assert restored.text_columns == ["name"]


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(DataError, match="nmae"):
        TableEncoder.fit(table(name=["a", "b"]), text=("nmae",))
