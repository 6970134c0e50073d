"""The other losses of a prediction, each known by its ambient gradient."""

from crossent.family.distance import Brier
from crossent.family.protocol import PredictionLoss, value_and_logit_gradient
from crossent.family.surprise import CrossEntropy

__all__ = ["Brier", "CrossEntropy", "PredictionLoss", "value_and_logit_gradient"]
