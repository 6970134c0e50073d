"""Labels of any type and probabilities are learnt from; what is neither is refused with its place."""

import re

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import DataConversionWarning

from crossent.estimators import SoftmaxClassifier

RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=60)
X = RNG.normal(size=(60, 3)) + 3 * np.eye(3)[Y]


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ant", "bee", "cat"]),
        np.array(["ant", "bee", "cat"], dtype=object),
        np.array([-5, 0, 7]),
        np.array([3, 4, 5], dtype=np.uint8),
        np.array([0.0, 1.0, 2.0]),
    ],
    ids=lambda names: str(names.dtype),
)
def test_labels_come_back_as_they_were(names):
    model = SoftmaxClassifier(random_state=0).fit(X, names[Y])
    np.testing.assert_array_equal(model.classes_, names)
    predicted = model.predict(X)
    assert predicted.dtype == names.dtype
    assert (predicted == names[Y]).mean() > 0.8
    assert model.score(X, names[Y]) == (predicted == names[Y]).mean()


def test_booleans_are_two_classes():
    model = SoftmaxClassifier(random_state=0).fit(X, Y == 1)
    assert model.classes_.tolist() == [False, True]
    assert model.predict(X).dtype == bool


def test_one_class_is_always_predicted():
    model = SoftmaxClassifier().fit(X, ["only"] * 60)
    assert model.predict(X[:2]).tolist() == ["only", "only"]
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((60, 1)))


def test_classes_name_the_columns_in_order():
    model = SoftmaxClassifier(random_state=0).fit(X, Y, classes=[2, 0, 9, 1])
    plain = SoftmaxClassifier(random_state=0).fit(X, Y)
    assert model.classes_.tolist() == [2, 0, 9, 1]
    assert (model.predict(X) == plain.predict(X)).all()
    assert model.predict_proba(X)[:, 2].max() < 0.05


def test_probabilities_are_learnt():
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    model = SoftmaxClassifier(alpha=0, random_state=0).fit([[0.0], [1.0]], probs, classes=["a", "b", "c"])
    np.testing.assert_allclose(model.predict_proba([[0.0], [1.0]]), probs, atol=1e-4)
    assert model.predict([[0.0], [1.0]]).tolist() == ["a", "c"]
    assert model.score([[0.0], [1.0]], probs) == 1.0
    assert SoftmaxClassifier().fit([[0.0], [1.0]], probs).classes_.tolist() == [0, 1, 2]


def test_soft_labels_hold_out_rows_for_early_stopping():
    probs = np.eye(3)[Y] * 0.9 + 0.1 / 3
    model = SoftmaxClassifier(early_stopping=True, max_epochs=30, random_state=0).fit(X, probs)
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_iter_ >= 1


def test_early_stopping_takes_a_class_with_one_row():
    y = Y.copy()
    y[0] = 77
    model = SoftmaxClassifier(early_stopping=True, max_epochs=30, random_state=0).fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2, 77]


def test_column_of_labels_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning):
        model = SoftmaxClassifier(random_state=0).fit(X, Y[:, np.newaxis])
    assert model.predict(X).shape == (60,)


def bad_probs(row, values):
    probs = np.full((60, 3), 1 / 3)
    probs[row] = values
    return probs


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (bad_probs(5, [0.5, 0.6, -0.1]), {}, "y[5, 2] = -0.1: expected a probability"),
        (bad_probs(5, [0.5, np.nan, 0.5]), {}, "y[5, 1] = nan: expected a probability"),
        (bad_probs(4, [0.5, 0.75, 0.25]), {}, "y[4].sum() = 1.5: expected probabilities that sum to 1"),
        (bad_probs(4, [0.5, np.inf, 0.1]), {}, "y[4].sum() = inf: expected probabilities that sum to 1"),
        (np.eye(3, dtype=int)[Y], {}, "y has shape (60, 3) and dtype int64"),
        (np.zeros((60, 3, 2)), {}, "Found array with dim 3"),
        (Y[:-1], {}, "len(y) = 59: expected 60"),
        (None, {}, "requires y to be passed, but the target y is None"),
        (Y + 0.5, {}, "Unknown label type: continuous"),
        (Y, {"classes": [0, 1]}, "expected one of the classes [0, 1]"),
        (Y, {"classes": [0, 1, 2, 1]}, "expected no class twice"),
        (Y, {"classes": []}, "classes = []: expected a sequence of class labels"),
        (bad_probs(0, 1 / 3), {"classes": ["a", "b"]}, "len(classes) = 2: expected 3, the columns of y"),
        (Y, {"sample_weight": np.full(60, -1.0)}, "sample_weight[0] = -1.0: expected a finite number of at least 0"),
        (Y, {"sample_weight": np.full(60, np.nan)}, "sample_weight[0] = nan"),
        (Y, {"sample_weight": np.zeros(60)}, "sample_weight is zero in every row"),
        (Y, {"sample_weight": np.ones(59)}, "sample_weight.shape == (59,), expected (60,)"),
        (Y, {"validation": (X, Y + 1)}, "expected one of the classes [0, 1, 2]"),
        (Y, {"validation": (X, Y[:-1])}, "len(validation y) = 59: expected 60"),
        (Y, {"validation": (X[:, :2], Y)}, "X has 2 features"),
    ],
)
def test_bad_target_is_refused_with_its_place(y, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SoftmaxClassifier().fit(X, y, **options)


def test_other_kinds_of_target_are_refused():
    with pytest.raises(TypeError, match="y is a csr_matrix: expected an array of labels"):
        SoftmaxClassifier().fit(X, csr_matrix(Y[:, None]))
    with pytest.raises(TypeError, match="validation is a int: expected a tuple"):
        SoftmaxClassifier().fit(X, Y, validation=3)
    with pytest.raises(TypeError, match="another type than the classes"):
        SoftmaxClassifier().fit(X, np.array(["a", "b", "c"], dtype=object)[Y], classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("even", "class_weight = 'even': expected 'balanced'"),
        ({5: 1.0}, "class_weight key 5"),
        ({0: -1.0}, "class_weight[0] = -1.0"),
        ({0: np.nan}, "class_weight[0] = nan"),
        ({0: 0, 1: 0, 2: 0}, "expected a positive weight for a class that has rows"),
    ],
)
def test_bad_class_weight_is_refused(class_weight, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SoftmaxClassifier(class_weight=class_weight).fit(X, Y)


@pytest.mark.parametrize(
    ("parameter", "value", "error"),
    [
        ("hidden_layer_sizes", 5, TypeError),
        ("hidden_layer_sizes", "ab", TypeError),
        ("hidden_layer_sizes", (0,), ValueError),
        ("hidden_layer_sizes", (1.5,), TypeError),
        ("alpha", -1, ValueError),
        ("alpha", np.nan, ValueError),
        ("alpha", "much", TypeError),
        ("learning_rate", 0, ValueError),
        ("learning_rate", "fast", TypeError),
        ("momentum", 1, ValueError),
        ("batch_size", 0, ValueError),
        ("batch_size", 2.0, TypeError),
        ("max_epochs", 0, ValueError),
        ("max_epochs", True, TypeError),
        ("validation_fraction", 1.0, ValueError),
        ("n_iter_no_change", 0, ValueError),
        ("label_smoothing", 1.1, ValueError),
        ("n_threads", 0, ValueError),
        ("dtype", "float16", ValueError),
        ("dtype", "no dtype", ValueError),
        ("callbacks", ["print"], TypeError),
        ("l1_ratio", 1.5, ValueError),
        ("l1_ratio", "half", TypeError),
        ("optimizer", "lbfgs", ValueError),
        ("optimizer", 1, ValueError),
        ("schedule", "step", ValueError),
        ("tol", -1e-3, ValueError),
        ("tol", "small", TypeError),
        ("dropout", 1.0, ValueError),
        ("dropout", 0.5, ValueError),
        ("average", 0.0, ValueError),
        ("average", 1.5, ValueError),
        ("checkpoint", 3, TypeError),
    ],
)
def test_bad_parameter_is_refused_by_name(parameter, value, error):
    with pytest.raises(error, match=parameter):
        SoftmaxClassifier(**{parameter: value}).fit(X, Y)


def test_average_of_an_averaging_optimizer_is_refused():
    with pytest.raises(ValueError, match="average = True: expected False for optimizer='schedule-free'"):
        SoftmaxClassifier(optimizer="schedule-free", average=True).fit(X, Y)


def test_the_default_penalty_is_one_over_the_rows_mass_at_most_1e_4_and_less_of_short_sparse_rows(rng):
    x, y = rng.normal(size=(40_000, 2)).astype(np.float32), rng.integers(3, size=40_000)
    quick = {"max_epochs": 1, "random_state": 0}
    assert SoftmaxClassifier(**quick).fit(x, y).alpha_ == pytest.approx(1 / 40_000)
    assert SoftmaxClassifier(**quick).fit(x, y, np.full(40_000, 2.0)).alpha_ == pytest.approx(1 / 80_000)
    assert SoftmaxClassifier(**quick).fit(x[:100], y[:100]).alpha_ == 1e-4
    assert SoftmaxClassifier(**quick).partial_fit(x, y, classes=range(3)).alpha_ == 1e-4
    assert SoftmaxClassifier(**quick).fit_stream([(x, y), (x, y)]).alpha_ == pytest.approx(1 / 80_000)
    assert SoftmaxClassifier((4,), **quick).fit(np.repeat(x, 2, axis=0), np.repeat(y, 2)).alpha_ == pytest.approx(
        5 / 80_000
    )
    assert SoftmaxClassifier(alpha=0.25, **quick).fit(x, y).alpha_ == 0.25
    short = csr_matrix(x / np.linalg.norm(x, axis=1, keepdims=True))
    for rows, share in ((short, 1 / 100), (5 * short, 1 / 4), (16 * short, 1)):
        assert SoftmaxClassifier(**quick).fit(rows, y).alpha_ == pytest.approx(share / 40_000)
        assert SoftmaxClassifier(**quick).fit_stream([(rows, y), (rows, y)]).alpha_ == pytest.approx(share / 80_000)
        assert SoftmaxClassifier(**quick).partial_fit(rows, y, classes=range(3)).alpha_ == pytest.approx(share * 1e-4)
    assert SoftmaxClassifier((4,), **quick).fit(short, y).alpha_ == 1e-4
    with pytest.raises(TypeError, match="alpha = 'much' is a str"):
        SoftmaxClassifier(alpha="much").fit(x, y)


@pytest.mark.parametrize("name", ["nesterov", "early_stopping", "center", "calibrate", "warm_start", "feature_rates"])
def test_a_switch_takes_true_or_false_alone(rng, name):
    with pytest.raises(TypeError, match=f"{name} = 'no' is a str: expected True or False"):
        SoftmaxClassifier(**{name: "no"}).fit(rng.normal(size=(9, 2)), np.arange(9) % 3)
