"""The classifier behaves as scikit-learn's conventions and tools expect."""

import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import warnings
from unittest import SkipTest

import matplotlib
import matplotlib.pyplot
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from crossent.estimators import LossCurveDisplay, SoftmaxClassifier
from crossent.estimators.probabilities import log_softmax


# Some checks have labels that say nothing about X; a network may then swing too far, and says so.
@pytest.mark.filterwarnings("ignore:The training diverged:sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        SoftmaxClassifier(),
        SoftmaxClassifier(hidden_layer_sizes=(16,)),
        SoftmaxClassifier(optimizer="adam", early_stopping=True, calibrate=True, tol=1e-4),
        SoftmaxClassifier(optimizer="schedule-free", l1_ratio=0.5),
    ]
)
def test_scikit_learns_checks_pass(estimator, check):
    held_out = estimator.early_stopping or estimator.calibrate
    # Held-out rows differ where weights stand for repeated rows, as the class's notes say.
    if held_out and "sample_weight_equivalence" in str(check):
        estimator.set_params(early_stopping=False, calibrate=False)
    try:
        check(estimator)
    except SkipTest as skipped:
        assert "SCIPY_ARRAY_API" in str(skipped)  # noqa: PT017 - one check looks at nothing without it
        raise


CHECKED = """
from sklearn.utils.estimator_checks import estimator_checks_generator
from crossent.estimators import SoftmaxClassifier
for estimator, check in estimator_checks_generator(SoftmaxClassifier()):
    if "array_api" in str(check):
        check(estimator)
        print("passed")
"""


def test_check_of_array_api_passes_where_it_is_on():
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-W", "ignore", "-c", CHECKED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "passed\n"


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
    # A dataframe's columns lie apart: the sums are taken in another order.
    by_rows = SoftmaxClassifier(random_state=0).fit(x, y)
    np.testing.assert_allclose(model.predict_proba(table), by_rows.predict_proba(x), rtol=1e-9)
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


def test_metadata_routing_takes_sample_weights(iris):
    x, y = iris
    weight = np.where(y == 2, 5.0, 1.0)
    with config_context(enable_metadata_routing=True):
        model = SoftmaxClassifier(random_state=0).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True).set_partial_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(x, y, sample_weight=weight)
        scores = cross_validate(pipeline, x, y, cv=3, params={"sample_weight": weight})["test_score"]
    by_hand = SoftmaxClassifier(random_state=0).fit(StandardScaler().fit_transform(x), y, weight)
    np.testing.assert_array_equal(pipeline[-1].coef_, by_hand.coef_)
    assert scores.mean() > 0.9


def test_pickle_keeps_everything(iris):
    model = SoftmaxClassifier((4,), calibrate=True, random_state=0).fit(*iris)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(iris[0]), model.predict_proba(iris[0]))
    stream = SoftmaxClassifier(random_state=0).partial_fit(*iris, classes=[0, 1, 2])
    again = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(again.partial_fit(*iris).coef_, stream.partial_fit(*iris).coef_)


def test_output_of_transformers_can_be_dataframes(iris):
    x, y = iris
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(random_state=0)).set_output(transform="pandas")
    pipeline.fit(pd.DataFrame(x, columns=list("abcd")), y)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")


def test_warm_start_continues(iris):
    x, y = iris
    cold = SoftmaxClassifier(random_state=0, warm_start=True).fit(x, y)
    first = cold.loss_curve_[0]
    again = cold.fit(x, y)
    assert again.loss_curve_[0] < 0.2 * first
    before = again.predict_proba(x)
    again.set_params(learning_rate=1e-12, max_epochs=1)
    again.fit(x, y)
    np.testing.assert_allclose(again.predict_proba(x), before, atol=1e-9)


def test_warm_start_keeps_the_classes_of_the_first_fit(iris):
    x, y = iris
    model = SoftmaxClassifier((5,), random_state=0, warm_start=True).fit(x, y)
    model.fit(x[:100], y[:100])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(x).shape == (150, 3)
    with pytest.raises(ValueError, match=re.escape("y[0] = 7: expected one of the classes [0, 1, 2]")):
        model.fit(x, np.full(150, 7))
    with pytest.raises(ValueError, match="those of the fit that warm_start continues"):
        model.fit(x, y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="continues layers of shapes"):
        model.set_params(hidden_layer_sizes=(6,)).fit(x, y)


def test_tol_ends_a_run_that_has_stopped_falling(iris):
    x, y = iris
    model = SoftmaxClassifier(tol=1e-3, alpha=1e-2, random_state=0, max_epochs=5000, learning_rate=0.05).fit(x, y)
    assert model.n_iter_ < 4000
    assert abs(model.loss_curve_[-1] - model.loss_curve_[-10]) < 1e-2


def test_network_that_fits_too_well_is_calibrated():
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.uniform(size=len(y)) < 0.3, rng.integers(10, size=len(y)), y)
    options = {"hidden_layer_sizes": (64,), "alpha": 0, "validation_fraction": 0.2, "random_state": 0}
    model = SoftmaxClassifier(calibrate=True, **options).fit(x[:1200], noisy[:1200])
    log_q = model.predict_log_proba(x[1200:])
    np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1)
    hot = log_softmax(np.log(model.predict_proba(x[1200:])) * model.temperature_)
    loss, uncalibrated = (-logs[np.arange(len(log_q)), noisy[1200:]].mean() for logs in (log_q, hot))
    assert model.temperature_ > 1.05
    assert loss < uncalibrated
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1)


def test_last_epoch_is_kept_where_the_best_is_chance():
    x, y = load_digits(return_X_y=True)
    losses = {}
    for early in (False, True):
        kept = []
        for seed in range(3):
            model = SoftmaxClassifier((64,), early_stopping=early, random_state=seed).fit(x[:1200] / 16, y[:1200])
            log_q = model.predict_log_proba(x[1200:] / 16)
            kept.append(-log_q[np.arange(len(log_q)), y[1200:]].mean())
        losses[early] = np.mean(kept)
    # A tenth fewer rows to train on, and no more than that.
    assert losses[True] < 1.35 * losses[False]


def test_gap_is_a_lower_bound_of_the_distance_to_the_minimum(iris):
    x, y = iris
    x = StandardScaler().fit_transform(x) * [1, 1, 1, 0.05]
    alpha = 1e-3
    best = SoftmaxClassifier(alpha=alpha, batch_size=150, max_epochs=20_000, random_state=0).fit(x, y)
    short = SoftmaxClassifier(alpha=alpha, max_epochs=3, learning_rate=0.002, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"nats above the minimum .* feature \d alone .*gradient norm"):
        short.fit(x, y)

    def objective(model):
        return -model.predict_log_proba(x)[np.arange(150), y].mean() + alpha / 2 * (model.coef_**2).sum()

    assert 0.02 < short.objective_gap_ <= objective(short) - objective(best)
    assert best.objective_gap_ < 1e-3


def test_feature_that_is_far_behind_is_named():
    x, y = load_iris(return_X_y=True, as_frame=True)
    # All that tells the classes apart is on the small scale.
    x = x.assign(noise=np.random.default_rng(0).normal(size=150) * 1e4)
    with pytest.warns(ConvergenceWarning, match="'petal length|'petal width|'sepal"):
        SoftmaxClassifier(feature_rates=False, random_state=0).fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # with a learning rate of its own none is behind
        assert SoftmaxClassifier(random_state=0).fit(x, y).score(x, y) > 0.95


def test_ordinary_fits_do_not_warn(iris):
    for load in (load_iris, load_digits):
        x, y = load(return_X_y=True)
        for optimizer in ("sgd", "schedule-free"):
            SoftmaxClassifier(optimizer=optimizer, random_state=0).fit(x, y)


def test_many_classes_take_no_matrix_of_rows_by_classes():
    """20,000 classes of 20,000 rows: in float32 that matrix alone would be 1.6 GB."""
    n = 20_000
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    tracemalloc.start()
    model = SoftmaxClassifier(random_state=0, max_epochs=1, learning_rate=1.0, batch_size=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, np.arange(n))
    predicted = model.predict(x[:4000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert predicted.shape == (4000,)
    assert peak < 300e6


@pytest.mark.skipif(not hasattr(SoftmaxClassifier, "set_callbacks"), reason="scikit-learn has callbacks from 1.9 on")
def test_scikit_learns_callbacks_are_told(iris):
    from sklearn.callback import ScoringMonitor

    x, y = iris
    monitor = ScoringMonitor(scoring="neg_log_loss")
    model = SoftmaxClassifier(random_state=0, max_epochs=200).set_callbacks(monitor).fit(x, y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == model.n_iter_ == 200
    assert rows[-1]["neg_log_loss"] > rows[0]["neg_log_loss"]
    whole = SoftmaxClassifier(random_state=0, max_epochs=200).fit(x, y)
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    expected = model.predict_log_proba(x)[np.arange(150), y].mean()
    assert rows[-1]["neg_log_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(not hasattr(SoftmaxClassifier, "set_callbacks"), reason="scikit-learn has callbacks from 1.9 on")
def test_scikit_learns_callback_ends_the_run_and_is_torn_down(iris):
    class Stop:
        def __init__(self):
            self.heard = []

        def setup(self, estimator, context):
            self.heard.append("setup")

        def teardown(self, estimator, context):
            self.heard.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.heard.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            self.heard.append(f"end {context.task_name}")
            return context.task_name == "epoch" and fitted_estimator.n_iter_ == 2

    stop = Stop()
    model = SoftmaxClassifier(random_state=0, max_epochs=50, learning_rate=0.1).set_callbacks(stop).fit(*iris)
    assert model.n_iter_ == 2
    epoch = ["begin epoch", "end epoch"]
    assert stop.heard == ["setup", "begin fit", *epoch, *epoch, "end fit", "teardown"]
    search = GridSearchCV(SoftmaxClassifier(random_state=0).set_callbacks(stop), {"alpha": [1e-4]}, cv=2).fit(*iris)
    assert search.best_estimator_.n_iter_ == 2


def test_loss_curves_are_drawn(iris):
    matplotlib.use("Agg")
    x, y = iris
    model = SoftmaxClassifier(max_epochs=40, random_state=0).fit(x[::2], y[::2], validation=(x[1::2], y[1::2]))
    display = LossCurveDisplay.from_estimator(model, name="linear")
    training, validation = display.lines_
    np.testing.assert_array_equal(training.get_ydata(), model.loss_curve_)
    np.testing.assert_array_equal(validation.get_ydata(), model.validation_scores_)
    assert training.get_label() == "linear, training"
    assert display.ax_.get_ylabel() == "log-loss (nats)"
    again = LossCurveDisplay.from_estimator(SoftmaxClassifier(random_state=0).fit(x, y), ax=display.ax_)
    assert again.figure_ is display.figure_
    assert len(again.lines_) == 1
    matplotlib.pyplot.close(display.figure_)
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(SoftmaxClassifier())
