"""The derivative's components by who pays as a class rises: a_c − ⟨w, a⟩, with limits at the boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crossent.family.prediction import Prediction, truth_of
from crossent.family.protocol import FamilyLoss, PredictionLoss
from crossent.simplex.pairing import NEAR, almost, pair
from crossent.simplex.rows import column, infinite, only, row_sum, zeros_like
from crossent.simplex_inputs import Array, Pay, payment_weights

if TYPE_CHECKING:
    from crossent.simplex.one_form import Differential


def ambient(d: Differential) -> Array:
    """Return the components if nobody pays."""
    if d.loss_function is not None:
        return _ambient_of_loss(d, d.loss_function)
    ratio = zeros_like(d.probs)
    here = np.asarray(d.truth > 0, dtype=bool)
    if d.exact:
        there = here & np.asarray(d.probs > 0, dtype=bool)
        ratio[there] = d.truth[there] / d.probs[there]
        ratio[here & ~there] = np.inf
        return np.asarray(0 - ratio)
    tiny = here & (d.probs < np.finfo(np.float64).tiny)  # too few bits left to divide by
    normal = here & ~tiny
    with np.errstate(over="ignore"):
        ratio[normal] = d.truth[normal] / d.probs[normal]
        ratio[tiny] = np.exp(np.log(d.truth[tiny]) - d.log_probs[tiny])
    return np.asarray(0.0 - ratio)


def components(d: Differential, pay: Pay) -> Array:
    """Return the components by a rule of payment."""
    if isinstance(pay, str) and pay == "nobody":
        return d.ambient
    if isinstance(pay, str) and pay == "in proportion":
        return _in_proportion(d)
    weights = payment_weights(pay, d.classes, exact=d.exact)
    ambient, shift = d.ambient, column(0 - pair(d, weights))
    with np.errstate(invalid="ignore"):
        grad = ambient + only(~(infinite(ambient) & infinite(shift)), shift)
    for place in np.argwhere(infinite(ambient) & infinite(shift)):  # inf − inf: the pair decides
        row, c = tuple(place[:-1]), place[-1]
        direction = 0 - weights
        direction[c] += 1
        grad[(*row, c)] = pair(d[row], direction)
    return np.asarray(grad)


def multiple(d: Differential, pay: Pay) -> Any:
    """Return −⟨w, a⟩ for a rule of payment."""
    if isinstance(pay, str) and pay == "nobody":
        return row_sum(zeros_like(d.probs))
    if isinstance(pay, str) and pay == "in proportion":
        return _multiple_in_proportion(d)
    return 0 - pair(d, payment_weights(pay, d.classes, exact=d.exact))


def _ambient_of_loss(d: Differential, loss: PredictionLoss) -> Array:
    """Return the ambient gradient by the loss, from the logarithms where a probability is below float64's range."""
    with np.errstate(all="ignore"):
        if not isinstance(loss, FamilyLoss):
            return np.asarray(loss.ambient(d.probs, d.truth)) + 0.0
        top = np.argmax(d.log_probs, axis=-1)[..., None] == np.arange(d.probs.shape[-1])
        q = Prediction(d.probs, d.log_probs, 0.0 - np.expm1(d.log_probs), top)
        return loss.ambient_of(q, truth_of(d.truth, d.probs.shape, any_mass=loss.any_mass)) + 0.0


def _in_proportion(d: Differential) -> Array:
    multiple = column(_multiple_in_proportion(d))
    ambient = d.ambient
    inside = np.asarray(d.probs > 0, dtype=bool)
    if d.loss_function is None:
        inside &= np.asarray(d.truth > 0, dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        out = np.where(infinite(ambient), ambient, ambient + multiple)
        # (P·q − p)/q and not P − p/q, which cancels where q is near p.
        out[inside] = d.logits[inside] / d.probs[inside]
    return out


def _multiple_in_proportion(d: Differential) -> Any:
    if d.loss_function is None:
        return d.mass
    near, nearer = almost(d, NEAR), almost(d, NEAR**2)
    with np.errstate(all="ignore"):
        here = np.where(near > 0, near * d.loss_function.ambient(near, d.truth), 0.0)
        there = np.where(nearer > 0, nearer * d.loss_function.ambient(nearer, d.truth), 0.0)
        falling = (d.probs == 0) & ~(np.abs(there - here) <= 1e-9 * np.abs(here))
    return 0 - row_sum(np.where(falling, 0.0, there))
