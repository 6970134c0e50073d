"""scikit-learn estimators and their files."""

from crossent.estimators.loss_curve import LossCurveDisplay
from crossent.estimators.model_files import LoadedModel, load_model, save_model
from crossent.estimators.softmax_classifier import SoftmaxClassifier

__all__ = ["LoadedModel", "LossCurveDisplay", "SoftmaxClassifier", "load_model", "save_model"]
