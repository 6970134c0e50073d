"""scikit-learn's tests of its losses, with crossent's kernels in the place of its CyHalfMultinomialLoss."""

from recorder import counted
from sklearn._loss import loss

from crossent.estimators.multinomial_loss import HalfMultinomialLoss

METHODS = ("loss", "loss_gradient", "gradient", "gradient_hessian", "gradient_proba", "_test_cy_gradient")


def pytest_configure() -> None:
    for name in METHODS:
        setattr(HalfMultinomialLoss, name, counted(getattr(HalfMultinomialLoss, name)))
    loss.CyHalfMultinomialLoss = HalfMultinomialLoss
