"""The other losses of a prediction, each known by its ambient gradient."""

from crossent.family.distance import Brier, RankedProbabilityScore, Spherical
from crossent.family.divergence import JensenShannon, ReverseKL
from crossent.family.protocol import FamilyLoss, PredictionLoss, value_and_logit_gradient
from crossent.family.surprise import CrossEntropy, Focal, GeneralizedCrossEntropy, Poly1
from crossent.family.symmetric import SymmetricCrossEntropy

LOSSES: tuple[type[FamilyLoss], ...] = (
    CrossEntropy,
    Brier,
    Spherical,
    Focal,
    GeneralizedCrossEntropy,
    Poly1,
    SymmetricCrossEntropy,
    ReverseKL,
    JensenShannon,
    RankedProbabilityScore,
)

__all__ = [
    "LOSSES",
    "Brier",
    "CrossEntropy",
    "FamilyLoss",
    "Focal",
    "GeneralizedCrossEntropy",
    "JensenShannon",
    "Poly1",
    "PredictionLoss",
    "RankedProbabilityScore",
    "ReverseKL",
    "Spherical",
    "SymmetricCrossEntropy",
    "value_and_logit_gradient",
]
