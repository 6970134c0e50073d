"""Arguments that reach further into the package are refused there, by name and with what was expected."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

import crossent
from crossent import SoftmaxClassifier
from crossent.estimators import LossCurveDisplay, save_model
from crossent.explanation import explain
from crossent.head.sgd import FusedHeadSGD
from crossent.simplex import differential, symbolic_loss

X, Y = np.eye(3), np.arange(3)
WEIGHTLESS = {"weight": np.array([0.0, 1.0, 1.0]), "label_smoothing": 0.1}


class NoNumber:
    def __float__(self):
        raise ValueError


def fitted():
    return SoftmaxClassifier(max_epochs=1, random_state=0).fit(X, Y)


def head(*, target=Y, **options):
    return crossent.linear_cross_entropy(X, X, target, **options)


def diverged():
    model = fitted()
    model.coefs_[0][0, 0] = np.inf
    return model


def without_epochs():
    model = fitted()
    model.loss_curve_ = []
    return model


def with_gaps():
    return np.zeros((3, 6))[:, ::2]


CASES = {
    "a mean of labels without weight": (
        lambda p: crossent.cross_entropy(X, np.zeros(3, int), **WEIGHTLESS),
        "have weight 0, so that a mean is undefined",
    ),
    "a head's mean of labels without weight": (
        lambda p: head(target=np.zeros(3, int), class_weight=WEIGHTLESS["weight"], label_smoothing=0.1),
        "have weight 0, so that a mean is undefined",
    ),
    "no number for smoothing": (
        lambda p: crossent.cross_entropy(X, Y, label_smoothing=NoNumber()),
        "label_smoothing is a NoNumber",
    ),
    "a reduction of probabilities": (
        lambda p: crossent.cross_entropy_from_probs(X, Y, reduction="all"),
        "reduction = 'all': expected one of",
    ),
    "a shift that is a flag": (lambda p: head(shift=True), "shift is a bool: expected an integer of at least 0"),
    "a shift of a single row": (
        lambda p: crossent.linear_cross_entropy(X[0], X, 1, shift=1),
        "shift = 1: expected 0 for a single row",
    ),
    "sparse targets of other rows": (
        lambda p: head(target=(np.zeros((2, 1), int), np.ones((2, 1)))),
        "target[0] has shape (2, 1): expected (3,)",
    ),
    "a list as a weight to change": (
        lambda p: FusedHeadSGD([[1.0]], learning_rate=0.1),
        "NumPy array, which is changed in place",
    ),
    "a weight with gaps": (
        lambda p: FusedHeadSGD(with_gaps(), learning_rate=0.1),
        "weight: expected a C-contiguous array",
    ),
    "batches that are a number": (
        lambda p: SoftmaxClassifier().fit_stream(lambda: 5),
        "batches is a int: expected an iterable of (X, y)",
    ),
    "a directory without Parquet": (
        lambda p: SoftmaxClassifier().fit_stream(p, label="y"),
        "is a directory without a .parquet file",
    ),
    "an infinite weight to save": (
        lambda p: save_model(p / "model", diverged()),
        "a weight of the classifier is not finite",
    ),
    "a curve without epochs": (lambda p: LossCurveDisplay.from_estimator(without_epochs()), "has completed no epoch"),
    "class weights that are a number": (
        lambda p: SoftmaxClassifier(class_weight=2.0).fit(X, Y),
        "class_weight is a float: expected 'balanced', a dict",
    ),
    "a class without weight in a stream": (
        lambda p: SoftmaxClassifier(class_weight={0: 0.0, 1: 1.0, 2: 1.0}).fit_stream([(X, Y)]),
        "expected positive weights: leave the rows out instead",
    ),
    "no weight in a stream": (
        lambda p: SoftmaxClassifier().partial_fit(X, Y, classes=Y, sample_weight=np.zeros(3)),
        "sample_weight is zero in every row",
    ),
    "names in one text": (
        lambda p: explain([0.5, 0.5], target=0, classes="ab"),
        "classes is a str: expected a sequence",
    ),
    "a weight in words": (
        lambda p: differential([0.5, 0.5], 0, weight="heavy"),
        "weight is a str: expected one number per class",
    ),
    "symbols of a batch": (
        lambda p: symbolic_loss(differential(np.array([[Fraction(1, 2)] * 2] * 2), [0, 1])),
        "probs.shape = (2, 2): expected one prediction, (2,)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused(case, tmp_path):
    call, message = CASES[case]
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call(tmp_path)


def torch_cases():
    torch = pytest.importorskip("torch")
    import crossent.torch as ct

    z, y, p = torch.zeros(3, 3), torch.arange(3), torch.full((3, 3), 1 / 3)
    weight = torch.ones(3)
    yield "a weight of distributions", lambda: ct.fenchel_young_loss(z, p, weight=weight), "expected None with distr"
    yield "and of symmetric ones", lambda: ct.symmetric_cross_entropy(z, p, weight=weight), "expected None with distr"
    yield (
        "relaxation of all",
        lambda: ct.label_relaxed_loss(z, y, alpha=1.0),
        "alpha = 1.0: expected a number in (0, 1)",
    )
    yield "log-mean of a family", lambda: ct.focal_loss(z, y, reduction="log-mean"), "reduction = 'log-mean': expected"
    yield "a list of sample weights", lambda: ct.cross_entropy(z, y, sample_weight=[1.0]), "sample_weight is a list"
    yield (
        "a head of integers",
        lambda: ct.FusedHeadSGD(torch.ones(3, 3, dtype=int), learning_rate=0.1),
        "has dtype torch.int64",
    )
    yield "a head of lists", lambda: ct.FusedHeadSGD([[1.0]], learning_rate=0.1), "a tensor, which is changed in place"
    yield "an endless softcap", lambda: ct.linear_cross_entropy(z, z, y, logit_scale=float("inf")), "a finite number"


def test_what_does_not_fit_a_tensors_loss_is_refused():
    for name, call, message in torch_cases():
        with pytest.raises((TypeError, ValueError)) as refused:
            call()
        assert message in str(refused.value), name
