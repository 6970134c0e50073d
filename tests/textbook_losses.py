"""The losses of the family as their sources write them, for numbers of any kind: mpmath's or PyTorch's scalars."""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath

from crossent import family


def cross_entropy(q, p, log):
    return sum(-p_c * log(q_c) for q_c, p_c in zip(q, p) if p_c != 0)


def brier(q, p, log):
    return sum((q_c - p_c) ** 2 for q_c, p_c in zip(q, p))


def spherical(q, p, log):
    norm = sum(q_c**2 for q_c in q) ** 0.5
    return sum(p_c * (1 - q_c / norm) for q_c, p_c in zip(q, p))


def focal(gamma):
    return lambda q, p, log: sum(-p_c * (1 - q_c) ** gamma * log(q_c) for q_c, p_c in zip(q, p) if p_c != 0)


def generalized(kappa):
    return lambda q, p, log: sum(p_c * (1 - q_c**kappa) / kappa for q_c, p_c in zip(q, p) if p_c != 0)


def poly(epsilon):
    return lambda q, p, log: sum(p_c * (epsilon * (1 - q_c) - log(q_c)) for q_c, p_c in zip(q, p) if p_c != 0)


def symmetric(alpha, beta, least):
    def formula(q, p, log):
        costs = [-log(p_c) if p_c > 0 and log(p_c) > least else -least for p_c in p]
        return alpha * cross_entropy(q, p, log) + beta * sum(q_c * cost for q_c, cost in zip(q, costs))

    return formula


def reverse_kl(q, p, log):
    return sum(q_c * (log(q_c) - log(p_c)) for q_c, p_c in zip(q, p))


def jensen_shannon(q, p, log):
    total = 0
    for q_c, p_c in zip(q, p):
        log_m = log((q_c + p_c) / 2)
        total += q_c * (log(q_c) - log_m) / 2
        if p_c != 0:
            total += p_c * (log(p_c) - log_m) / 2
    return total


def ranked(q, p, log):
    return sum((sum(q[:k]) - sum(p[:k])) ** 2 for k in range(1, len(p)))


class Case(NamedTuple):
    loss: family.FamilyLoss
    formula: Any
    hard: bool = True  # finite for a label


CASES = (
    Case(family.CrossEntropy(), cross_entropy),
    Case(family.Brier(), brier),
    Case(family.Spherical(), spherical),
    Case(family.Focal(0.5), focal(0.5)),
    Case(family.Focal(1.0), focal(1.0)),
    Case(family.Focal(2.0), focal(2.0)),
    Case(family.GeneralizedCrossEntropy(0.7), generalized(0.7)),
    Case(family.GeneralizedCrossEntropy(1.0), generalized(1.0)),
    Case(family.Poly1(2.0), poly(2.0)),
    Case(family.Poly1(-1.0), poly(-1.0)),
    Case(family.SymmetricCrossEntropy(0.5, 2.0, -4.0), symmetric(0.5, 2.0, -4.0)),
    Case(family.ReverseKL(), reverse_kl, hard=False),
    Case(family.JensenShannon(), jensen_shannon),
    Case(family.RankedProbabilityScore(), ranked),
)


def softmax(logits):
    """Return the exact prediction of given logits, in mpmath's current precision."""
    exps = [mpmath.exp(mpmath.mpf(float(z))) for z in logits]
    total = mpmath.fsum(exps)
    return [e / total for e in exps]
