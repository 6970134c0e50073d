"""Any layout and number type of X is taken, and what cannot be used is named."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier


@pytest.fixture
def data():
    rng = np.random.default_rng(2)
    y = rng.integers(3, size=90)
    return rng.integers(0, 50, size=(90, 6)) + 20 * (y[:, np.newaxis] == np.arange(6) // 2), y


def fit(x, y, **parameters):
    return SoftmaxClassifier((5,), max_epochs=20, random_state=0, **parameters).fit(x, y)


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed rows": lambda x: x[::-1].copy()[::-1],
    "reversed columns": lambda x: x[:, ::-1].copy()[:, ::-1],
    "part of a wider array": lambda x: np.pad(x, 3)[3:-3, 3:-3],
    "field of records": lambda x: np.rec.fromarrays([x, np.zeros(x.shape, np.int8)], names="x,flag")["x"],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layout_of_x_does_not_matter(data, layout, dtype):
    x, y = data[0].astype(dtype), data[1]
    expected = fit(x, y)
    arranged = layout(x)
    model = fit(arranged, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    np.testing.assert_allclose(model.predict_proba(arranged), expected.predict_proba(x), rtol=1e-5)


def test_read_only_arrays_are_taken_and_nothing_is_written(data):
    x, y = data[0].astype(np.float64), data[1]
    weight = np.ones(len(y))
    copies = [array.copy() for array in (x, y, weight)]
    for array in (x, y, weight):
        array.setflags(write=False)
    SoftmaxClassifier(max_epochs=3, early_stopping=True).fit(x, y, weight)
    for array, copy in zip((x, y, weight), copies):
        np.testing.assert_array_equal(array, copy)


def test_memory_mapped_x_is_taken(data, tmp_path):
    np.save(tmp_path / "x.npy", data[0].astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = fit(data[0].astype(np.float32), data[1])
    np.testing.assert_array_equal(fit(mapped, data[1]).coefs_[0], expected.coefs_[0])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float32),
        (np.uint8, np.float32),
        (np.int16, np.float32),
        (np.int32, np.float64),
        (np.int64, np.float64),
        (np.longdouble, np.float64),
        (object, np.float64),
    ],
)
def test_number_type_is_kept_or_widened(data, given, kept):
    x, y = data[0].astype(given), data[1]
    model = fit(x, y)
    assert all(array.dtype == kept for array in model.coefs_ + model.intercepts_)
    for predicted in (model.predict_proba(x), model.predict_log_proba(x), model.decision_function(x)):
        assert predicted.dtype == kept
    np.testing.assert_array_equal(model.coefs_[0], fit(data[0].astype(kept), y).coefs_[0])


def test_dtype_parameter_decides(data):
    assert fit(data[0].astype(np.float64), data[1], dtype="float32").coefs_[0].dtype == np.float32
    assert fit(data[0].astype(np.float32), data[1], dtype=np.float64).coefs_[0].dtype == np.float64


@pytest.mark.parametrize(("bad", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_missing_value_is_named_with_row_and_column(data, bad, name):
    x, y = data[0].astype(np.float64), data[1]
    x[7, 3] = bad
    with pytest.raises(DataError, match=re.escape(f"X[7, 3] is {name}")):
        fit(x, y)
    with pytest.raises(DataError, match=re.escape(f"X[7, 3] is {name}")):
        fit(data[0].astype(np.float64), y).predict(x)
    with pytest.raises(DataError, match=re.escape(f"validation X[7, 3] is {name}")):
        SoftmaxClassifier().fit(data[0].astype(np.float64), y, validation=(x, y))


def test_missing_value_in_a_dataframe_is_named_with_its_feature():
    table = pd.DataFrame({"age": [1.0, 2.0, 3.0], "height": [1.0, np.nan, 2.0]})
    with pytest.raises(DataError, match=re.escape("X[1, 1] (feature 'height') is NaN")):
        SoftmaxClassifier().fit(table, [0, 1, 0])


def test_sum_that_overflows_is_no_missing_value():
    x = np.full((4, 2), 3e38, dtype=np.float32)
    x[:2] = -3e38
    model = SoftmaxClassifier(max_epochs=1, learning_rate=1e-80, dtype=np.float64)
    with pytest.warns(ConvergenceWarning, match="nats above the minimum"):
        model.fit(x, [0, 0, 1, 1])
    assert np.isfinite(model.coef_).all()


def test_words_in_x_are_refused():
    with pytest.raises(ValueError, match="numeric"):
        SoftmaxClassifier().fit([["a"], ["b"]], [0, 1])


def test_other_number_of_features_is_refused(data):
    model = fit(*data)
    with pytest.raises(ValueError, match="X has 5 features, but SoftmaxClassifier is expecting 6"):
        model.predict(data[0][:, :5])


def test_constant_features_train_the_shares():
    y = np.repeat([0, 1, 2], [50, 30, 20])
    model = SoftmaxClassifier(random_state=0).fit(np.full((100, 3), 7.0), y)
    np.testing.assert_allclose(model.predict_proba([[7.0] * 3]), [[0.5, 0.3, 0.2]], atol=1e-3)
