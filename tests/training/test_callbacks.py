"""Who watches a run is told everything, and can end it."""

import signal

import numpy as np
import pytest
from sklearn.datasets import load_digits

from crossent.estimators import SoftmaxClassifier
from crossent.training import engine


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def test_events_tell_where_the_run_stands(digits, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_FLOPS", 1e6)
    x, y = digits
    events = []
    model = SoftmaxClassifier((32,), max_epochs=3, random_state=0, callbacks=[events.append])
    model.fit(x[:1000], y[:1000], validation=(x[1000:], y[1000:]))
    assert [event.epoch for event in events if event.kind == "epoch"] == [1, 2, 3]
    assert {event.max_epochs for event in events} == {3}
    assert {event.n_batches for event in events} == {8}
    within = [event for event in events if event.kind == "batches"]
    assert len(within) > 3
    assert [event.batch for event in within if event.epoch == 2][-1] == 8
    assert all(event.validation_loss is None for event in within)
    epochs = [event for event in events if event.kind == "epoch"]
    assert [event.loss for event in epochs] == model.loss_curve_
    assert [event.validation_loss for event in epochs] == model.validation_scores_
    assert [event.validation_accuracy for event in epochs] == model.validation_accuracies_
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds)
    assert all(0 < event.learning_rate <= model.learning_rate_ for event in events)


def test_chunks_do_not_change_the_result(digits, monkeypatch):
    whole = SoftmaxClassifier((32,), max_epochs=3, random_state=0).fit(*digits)
    monkeypatch.setattr(engine, "CHUNK_FLOPS", 1.0)
    pieces = SoftmaxClassifier((32,), max_epochs=3, random_state=0).fit(*digits)
    assert pieces.loss_curve_ == pytest.approx(whole.loss_curve_, rel=1e-12)
    np.testing.assert_array_equal(pieces.coefs_[0], whole.coefs_[0])


def test_callback_that_returns_true_ends_the_run(digits):
    heard = []
    stop = SoftmaxClassifier(
        max_epochs=50,
        random_state=0,
        callbacks=[lambda event: event.kind == "epoch" and event.epoch == 4, heard.append],
    ).fit(*digits)
    assert stop.n_iter_ == len(stop.loss_curve_) == 4
    assert heard[-1].epoch == 4
    assert stop.score(*digits) > 0.8


def test_numpys_true_ends_the_run_too(digits):
    stop = SoftmaxClassifier(max_epochs=50, random_state=0, callbacks=[lambda event: np.bool_(event.epoch == 2)])
    assert stop.fit(*digits).n_iter_ == 1


def test_what_a_callback_returns_otherwise_does_not_matter(digits):
    model = SoftmaxClassifier(max_epochs=3, random_state=0, callbacks=[lambda event: 1]).fit(*digits)
    assert model.n_iter_ == 3


def interrupt(event):
    if event.kind == "epoch" and event.epoch == 3:
        raise KeyboardInterrupt


def ctrl_c(event):
    if event.kind == "epoch" and event.epoch == 3:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def heard():
    """Ctrl-C is heard, also in tests run in the background, where a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("stop", [interrupt, ctrl_c])
def test_ctrl_c_keeps_the_model_so_far(digits, stop):
    model = SoftmaxClassifier(max_epochs=50, random_state=0, callbacks=[stop])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits)
    assert model.n_iter_ == 3
    assert model.score(*digits) > 0.8
    np.testing.assert_allclose(model.predict_proba(digits[0]).sum(axis=1), 1, rtol=1e-6)


def test_ctrl_c_before_the_first_epoch_ends_leaves_a_usable_model(digits):
    def at_once(event):
        raise KeyboardInterrupt

    model = SoftmaxClassifier(random_state=0, callbacks=[at_once])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits)
    assert model.n_iter_ == 0
    assert np.isfinite(model.predict_proba(digits[0])).all()


def test_error_in_a_callback_comes_through(digits):
    def broken(event):
        raise ZeroDivisionError("in the callback")

    with pytest.raises(ZeroDivisionError, match="in the callback"):
        SoftmaxClassifier(callbacks=[broken]).fit(*digits)


def test_best_validation_loss_is_kept(digits):
    x, y = digits
    rng = np.random.default_rng(0)
    noisy = np.where(rng.uniform(size=100) < 0.4, rng.integers(10, size=100), y[:100])
    model = SoftmaxClassifier((64,), alpha=0, max_epochs=200, random_state=0)
    model.fit(x[:100], noisy, validation=(x[1000:], y[1000:]))
    assert 0 < model.best_iter_ < model.n_iter_ == 200
    assert model.validation_scores_[model.best_iter_ - 1] == min(model.validation_scores_)
    assert -model.predict_log_proba(x[1000:])[np.arange(len(y) - 1000), y[1000:]].mean() == pytest.approx(
        min(model.validation_scores_), rel=1e-4
    )


def test_early_stopping_waits_and_then_brings_the_step_down(digits):
    x, y = digits
    events = []
    model = SoftmaxClassifier((64,), early_stopping=True, n_iter_no_change=7, max_epochs=3000, random_state=0)
    model.set_params(callbacks=[events.append]).fit(x, y)
    best = int(np.argmin(model.validation_scores_[: -(model.n_iter_ // 6)])) + 1
    assert model.n_iter_ == best + 7 + max(1, round(best / 5)) < 3000
    rates = [event.learning_rate for event in events if event.kind == "epoch"]
    # The schedule of 3000 epochs alone.
    assert rates[best + 6] > 0.99 * model.learning_rate_ * (1 - (best + 7) / 3000)
    assert rates[-1] < 0.1 * model.learning_rate_


def test_ctrl_c_in_an_epoch_keeps_the_best_so_far(digits):
    x, y = digits

    def stop(event):
        if event.epoch == 5 and event.kind == "batches":
            raise KeyboardInterrupt

    model = SoftmaxClassifier(max_epochs=50, random_state=0, callbacks=[stop])
    with pytest.raises(KeyboardInterrupt):
        model.fit(x[:1000], y[:1000], validation=(x[1000:], y[1000:]))
    shorter = SoftmaxClassifier(max_epochs=50, random_state=0, callbacks=[lambda e: e.kind == "epoch" and e.epoch == 4])
    shorter.fit(x[:1000], y[:1000], validation=(x[1000:], y[1000:]))
    assert model.n_iter_ == shorter.n_iter_ == 4
    assert model.best_iter_ == shorter.best_iter_ > 0
    np.testing.assert_array_equal(model.coefs_[0], shorter.coefs_[0])
