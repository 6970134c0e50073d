"""The derivative of a loss at predictions: one 1-form on the simplex, in any components."""

from crossent.simplex.build import differential, differential_from_logits
from crossent.simplex.certificate import Certificate
from crossent.simplex.descent import Path
from crossent.simplex.exact import symbolic_loss
from crossent.simplex.one_form import Differential

__all__ = [
    "Certificate",
    "Differential",
    "Path",
    "differential",
    "differential_from_logits",
    "symbolic_loss",
]
