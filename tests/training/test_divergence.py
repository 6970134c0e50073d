"""A step that is far too long is halved until the training goes on."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from crossent.estimators import SoftmaxClassifier


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [(), (32,), (32, 32)])
def test_absurd_learning_rate_ends_with_a_good_model_and_a_warning(hidden, dtype):
    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(hidden, learning_rate=1e6, max_epochs=30, random_state=0)
    with pytest.warns(ConvergenceWarning, match="diverged. The learning rate was halved"):
        model.fit((x / 16).astype(dtype), y)
    assert model.learning_rate_ < 1e6
    assert all(np.isfinite(array).all() for array in model.coefs_ + model.intercepts_)
    assert model.loss_curve_[-1] < np.log(10) / 2
    assert len(model.loss_curve_) == model.n_iter_ == 30


def test_hopeless_data_ends_with_the_last_good_parameters_and_a_warning():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 4)) * 1e36).astype(np.float32)
    y = np.arange(60) % 3
    model = SoftmaxClassifier((8,), learning_rate=1e6, max_epochs=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(x, y)
    assert all(np.isfinite(array).all() for array in model.coefs_)


def test_sane_training_does_not_warn():
    x, y = load_digits(return_X_y=True)
    for hidden in ((), (32,), (64, 64, 64)):
        model = SoftmaxClassifier(hidden, max_epochs=20, random_state=0).fit(x, y)
        assert model.loss_curve_[-1] < 0.3


def test_features_of_any_scale_get_a_step_that_works():
    x, y = load_digits(return_X_y=True)
    for scale in (1e-3, 1.0, 1e4):
        model = SoftmaxClassifier(alpha=0, max_epochs=40, random_state=0).fit(x * scale, y)
        assert model.loss_curve_[-1] < (2.0 if scale < 1e-2 else 0.3)


def test_few_heavy_rows_do_not_make_the_automatic_step_diverge():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20_000, 5)), (np.arange(20_000) < 10).astype(int)
    model = SoftmaxClassifier(class_weight="balanced", random_state=0).fit(x, y)
    assert np.isfinite(model.coef_).all()


def test_network_recovers_where_the_end_of_an_epoch_was_bad():
    """With a batch per epoch, what a step did shows in the next epoch only: going back by one does not help."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 2)), rng.integers(2, size=80)
    model = SoftmaxClassifier((16,), learning_rate=50.0, max_epochs=300, random_state=0)
    with pytest.warns(ConvergenceWarning, match="went on"):
        model.fit(x, y)
    assert model.n_iter_ == 300
    assert model.loss_curve_[-1] < np.log(2)


def test_features_whose_squares_overflow_are_refused():
    x = np.array([[1e200, 1.0], [-1e200, 2.0]])
    with pytest.raises(ValueError, match="the squares of the features overflow"):
        SoftmaxClassifier().fit(x, [0, 1])
