"""The classifier behaves as scikit-learn's conventions and tools expect."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from crossent.estimators import SoftmaxClassifier


# Some checks have labels that say nothing about X; a network may then swing too far, and says so.
@pytest.mark.filterwarnings("ignore:The training diverged:sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([SoftmaxClassifier(), SoftmaxClassifier(hidden_layer_sizes=(16,))])
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def test_pipeline_search_and_calibration_run(iris):
    x, y = iris
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(random_state=0))
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.93
    search = GridSearchCV(pipeline, {"softmaxclassifier__alpha": [1e-4, 10.0]}, cv=3, scoring="neg_log_loss")
    assert search.fit(x, y).best_params_ == {"softmaxclassifier__alpha": 1e-4}
    calibrated = CalibratedClassifierCV(SoftmaxClassifier(random_state=0), method="temperature", cv=3)
    np.testing.assert_allclose(calibrated.fit(x, y).predict_proba(x).sum(axis=1), 1)


def test_clone_has_the_same_parameters_and_nothing_else(iris):
    model = SoftmaxClassifier((4,), alpha=0.5, class_weight="balanced", random_state=3).fit(*iris)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "coefs_")


def test_refit_replaces_everything(iris):
    x, y = iris
    model = SoftmaxClassifier(random_state=0, max_epochs=3).fit(x[:, :2], y, validation=(x[:, :2], y))
    model.fit(x, np.where(y == 0, "a", "b"))
    fresh = SoftmaxClassifier(random_state=0, max_epochs=3).fit(x, np.where(y == 0, "a", "b"))
    assert model.validation_scores_ == []
    np.testing.assert_array_equal(model.coefs_[0], fresh.coefs_[0])


def test_linear_model_has_the_shapes_of_scikit_learns(iris):
    x, y = iris
    three = SoftmaxClassifier(random_state=0).fit(x, y)
    assert (three.coef_.shape, three.intercept_.shape) == ((3, 4), (3,))
    np.testing.assert_allclose(three.decision_function(x), x @ three.coef_.T + three.intercept_)
    two = SoftmaxClassifier(random_state=0).fit(x[:100], y[:100])
    assert (two.coef_.shape, two.intercept_.shape) == ((1, 4), (1,))
    np.testing.assert_allclose(two.decision_function(x), (x @ two.coef_.T + two.intercept_).ravel(), rtol=1e-9)
    np.testing.assert_array_equal(two.predict(x), (two.decision_function(x) > 0).astype(int))
    np.testing.assert_allclose(two.predict_proba(x)[:, 1], 1 / (1 + np.exp(-two.decision_function(x))))


def test_network_has_coefs_and_no_coef(iris):
    model = SoftmaxClassifier((5, 6), random_state=0, max_epochs=2).fit(*iris)
    assert [w.shape for w in model.coefs_] == [(4, 5), (5, 6), (6, 3)]
    assert [b.shape for b in model.intercepts_] == [(5,), (6,), (3,)]
    with pytest.raises(AttributeError, match="hidden layers: see coefs_"):
        _ = model.coef_


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_dataframes_keep_their_column_names(iris, frame):
    x, y = iris
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    table = frame(dict(zip(names, x.T)))
    model = SoftmaxClassifier(random_state=0).fit(table, y)
    assert model.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(
        model.predict_proba(table), SoftmaxClassifier(random_state=0).fit(x, y).predict_proba(x)
    )
    with pytest.raises(ValueError, match="feature names"):
        model.predict(
            table.rename(columns={"petal_width": "w"}) if frame is pd.DataFrame else table.rename({"petal_width": "w"})
        )


def test_verbose_prints_a_line_per_epoch(iris, capsys):
    x, y = iris
    SoftmaxClassifier(verbose=1, max_epochs=3, random_state=0).fit(x, y, validation=(x, y))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert all("validation" in line and "accuracy" in line for line in lines)


def test_quiet_by_default(iris, capsys):
    SoftmaxClassifier(max_epochs=3).fit(*iris)
    assert capsys.readouterr().out == ""
