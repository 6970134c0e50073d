"""A scikit-learn model taken over predicts what it did."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier

from crossent.estimators import SoftmaxClassifier
from crossent.estimators.model_files import load_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def data(classes, names=None):
    x, y = load_iris(return_X_y=True)
    x, y = x[y < classes], y[y < classes]
    return x, y if names is None else np.array(names)[y]


MODELS = {
    "logistic regression": LogisticRegression(),
    "without intercept": LogisticRegression(fit_intercept=False),
    "newton": LogisticRegression(solver="newton-cholesky"),
    "network": MLPClassifier((7, 5), max_iter=50, random_state=0),
    "no hidden layer": MLPClassifier((), activation="tanh", max_iter=50, random_state=0),
    "early stopping": MLPClassifier((6,), early_stopping=True, max_iter=50, random_state=0),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("classes", [2, 3])
def test_predictions_are_the_same(name, classes):
    x, y = data(classes, ["setosa", "versicolor", "virginica"])
    peer = MODELS[name].fit(x, y)
    model = SoftmaxClassifier.from_sklearn(peer)
    np.testing.assert_allclose(model.predict_proba(x), peer.predict_proba(x), atol=1e-12)
    np.testing.assert_array_equal(model.predict(x), peer.predict(x))
    np.testing.assert_array_equal(model.classes_, peer.classes_)
    assert model.n_iter_ == np.max(peer.n_iter_)


def test_two_classes_keep_their_score():
    x, y = data(2)
    peer = LogisticRegression().fit(x, y)
    model = SoftmaxClassifier.from_sklearn(peer)
    np.testing.assert_allclose(model.coef_, peer.coef_, rtol=1e-15)
    np.testing.assert_allclose(model.decision_function(x), peer.decision_function(x), rtol=1e-12)


def test_single_precision_stays_so():
    x, y = load_digits(return_X_y=True)
    peer = MLPClassifier((16,), max_iter=20, random_state=0).fit(x.astype(np.float32), y)
    model = SoftmaxClassifier.from_sklearn(peer)
    assert model.predict_proba(x.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(
        model.predict_proba(x.astype(np.float32)), peer.predict_proba(x.astype(np.float32)), atol=1e-6
    )


def test_feature_names_are_kept_and_the_model_can_be_saved(tmp_path):
    x, y = data(3)
    frame = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    model = SoftmaxClassifier.from_sklearn(LogisticRegression().fit(frame, y))
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    save_model(tmp_path / "model", model)
    np.testing.assert_array_equal(
        load_model(tmp_path / "model").estimator.predict_proba(frame), model.predict_proba(frame)
    )


def test_the_copy_is_its_own():
    x, y = data(3)
    peer = LogisticRegression().fit(x, y)
    before = peer.predict_proba(x)
    SoftmaxClassifier.from_sklearn(peer).coefs_[0][...] = 0
    np.testing.assert_array_equal(peer.predict_proba(x), before)


def test_training_can_go_on():
    x, y = data(3)
    model = SoftmaxClassifier.from_sklearn(LogisticRegression(max_iter=3).fit(x, y))
    before = model.predict_log_proba(x)[np.arange(len(y)), y].mean()
    model.set_params(warm_start=True, solver="exact").fit(x, y)
    assert model.predict_log_proba(x)[np.arange(len(y)), y].mean() > before


@pytest.mark.parametrize(("peer", "message"), [
    (MLPClassifier((4,), activation="tanh", max_iter=5), "activation = 'tanh': expected 'relu'"),
    (MLPClassifier((4,), activation="logistic", max_iter=5), "activation = 'logistic'"),
])  # fmt: skip
def test_other_activations_are_refused(peer, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier.from_sklearn(peer.fit(*data(3)))


def test_several_labels_per_row_are_refused(rng):
    x, y = rng.standard_normal((40, 3)), rng.integers(0, 2, (40, 2))
    with pytest.raises(ValueError, match="n_outputs_ = 2: expected one label per row"):
        SoftmaxClassifier.from_sklearn(MLPClassifier((4,), max_iter=5).fit(x, y))


def test_one_vs_rest_is_refused():
    peer = LogisticRegression().fit(*data(3))
    peer.multi_class = "ovr"  # as scikit-learn before 1.8 had it
    with pytest.raises(ValueError, match="one-vs-rest probabilities are no softmax"):
        SoftmaxClassifier.from_sklearn(peer)


def test_other_and_unfitted_models_are_refused():
    with pytest.raises(TypeError, match="model is a RidgeClassifier: expected a fitted LogisticRegression"):
        SoftmaxClassifier.from_sklearn(RidgeClassifier().fit(*data(3)))
    with pytest.raises(NotFittedError):
        SoftmaxClassifier.from_sklearn(LogisticRegression())
