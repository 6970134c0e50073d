"""The scores are what they say, against scikit-learn and against sums written out."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.metrics import accuracy_score, log_loss

from crossent.report import Evaluation, RunningScores, summary
from crossent.report.evaluation import N_BINS


@pytest.fixture(params=[None, "weighted"])
def scores(request):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 400)
    logits = 2 * rng.normal(size=(400, 4)) + 2 * np.eye(4)[labels]
    weights = None if request.param is None else rng.exponential(size=400)
    return Evaluation(logits, labels, list("abcd"), np.array([0.1, 0.2, 0.3, 0.4]), weights)


def test_log_loss_and_accuracy_are_those_of_scikit_learn(scores):
    assert scores.log_loss == pytest.approx(
        log_loss(scores.labels, scores.probs, sample_weight=scores.weights), rel=1e-12
    )
    right = accuracy_score(scores.labels, scores.predictions, sample_weight=scores.weights)
    assert scores.accuracy == pytest.approx(right, rel=1e-12)


def test_the_baseline_is_the_log_loss_of_the_frequencies(scores):
    constant = np.tile(scores.frequencies, (400, 1))
    assert scores.baseline == pytest.approx(log_loss(scores.labels, constant, sample_weight=scores.weights), rel=1e-12)


def test_the_brier_score_is_the_mean_squared_error_of_the_probabilities(scores):
    squares = ((softmax(scores.logits, axis=1) - np.eye(4)[scores.labels]) ** 2).sum(axis=1)
    assert scores.brier == pytest.approx(np.average(squares, weights=scores.weights), rel=1e-12)


def test_the_calibration_error_is_the_sum_over_the_bins(scores):
    weights = np.ones(400) if scores.weights is None else scores.weights
    error = 0.0
    for low in np.arange(N_BINS) / N_BINS:
        inside = (scores.confidence >= low) & (scores.confidence < low + 1 / N_BINS)
        if inside.any():
            right = (scores.predictions == scores.labels)[inside]
            gap = np.average(right, weights=weights[inside]) - np.average(
                scores.confidence[inside], weights=weights[inside]
            )
            error += weights[inside].sum() / weights.sum() * abs(gap)
    assert scores.calibration_error == pytest.approx(error, rel=1e-12)
    assert scores.reliability.count.sum() == 400


@pytest.mark.parametrize("soft", [False, True])
def test_sums_over_batches_give_the_scores_of_all_rows(scores, soft):
    probs = np.random.default_rng(2).dirichlet(np.ones(4), 400) if soft else None
    whole = Evaluation(scores.logits, scores.labels, scores.classes, scores.frequencies, scores.weights, probs)
    running, parts = RunningScores(), []
    for at in (slice(0, 0), slice(0, 150), slice(150, 151), slice(151, 400)):
        weights, truth = (None if of is None else of[at] for of in (whole.weights, probs))
        part = Evaluation(whole.logits[at], whole.labels[at], whole.classes, whole.frequencies, weights, truth)
        running.add(part)
        parts.append(part)
    assert summary(running) == pytest.approx(summary(whole), rel=1e-12)
    assert running.n_wrong == whole.n_wrong
    assert summary(Evaluation.concatenated(parts)) == summary(whole)


def test_a_batch_without_weight_changes_no_mean(scores):
    running = RunningScores()
    running.add(scores)
    before = summary(running)
    zero = np.zeros(400)
    running.add(Evaluation(-scores.logits, scores.labels, scores.classes, scores.frequencies, zero))
    assert summary(running) == {**before, "rows": 800}


def test_a_calibrated_prediction_has_no_calibration_error():
    probs = np.tile([0.75, 0.25], (400, 1))
    labels = np.r_[np.zeros(300, int), np.ones(100, int)]
    scores = Evaluation(np.log(probs), labels, ["a", "b"], np.array([0.5, 0.5]))
    assert scores.calibration_error == pytest.approx(0, abs=1e-15)
    assert scores.overconfidence == pytest.approx(0, abs=1e-15)


def test_a_hopeless_row_has_its_exact_loss_and_not_a_clipped_one():
    logits = np.array([[0.0, 5000.0], [800.0, 0.0]])
    scores = Evaluation(logits, np.array([0, 0]), ["a", "b"], np.array([0.5, 0.5]))
    assert scores.losses[0] == 5000.0
    assert scores.log_loss == 2500.0
    assert logsumexp(logits[0]) - logits[0, 0] == scores.losses[0]


def test_a_right_and_certain_row_falls_into_the_last_bin():
    scores = Evaluation(np.array([[900.0, 0.0]]), np.array([0]), ["a", "b"], np.array([0.5, 0.5]))
    assert scores.confidence[0] == 1.0
    assert scores.reliability.count[-1] == 1


def test_confident_mistakes_are_wrong_and_ordered(scores):
    rows = scores.confident_mistakes(10)
    assert len(rows) == 10
    assert np.all(scores.predictions[rows] != scores.labels[rows])
    assert np.all(np.diff(scores.confidence[rows]) <= 0)
    others = np.setdiff1d(np.flatnonzero(scores.predictions != scores.labels), rows)
    assert scores.confidence[others].max() <= scores.confidence[rows].min()


def test_the_confusion_counts_rows_by_true_and_predicted_class(scores):
    counts = np.zeros((4, 4), int)
    for truth, prediction in zip(scores.labels, scores.predictions):
        counts[truth, prediction] += 1
    assert np.array_equal(scores.confusion, counts)
    assert scores.n_wrong == counts.sum() - np.trace(counts)
