"""A reverse divergence at a truth that excludes predicted classes: second derivatives and velocities are limits too."""

import numpy as np
import pytest

from crossent import family
from crossent.simplex import differential

Q = [[0.2, 0.35, 0.45], [0.25, 0.75, 0.0], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]
# The last class is excluded; both that are predicted; two of three; none.
P = [[0.6, 0.4, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]]
DERIVATIVES = {"velocity": lambda d: d.velocity("logit"), "hessian": lambda d: d.hessian_logits}


def nearly(p, eps):
    """The truth with a trace of the classes it excludes."""
    p = np.array(p)
    return np.where(p == 0, eps, p)


@pytest.mark.parametrize("name", DERIVATIVES)
def test_entries_are_what_they_tend_to_as_the_excluded_classes_vanish(name):
    loss, derivative = family.ReverseKL(), DERIVATIVES[name]
    found = derivative(differential(Q, P, loss=loss))
    assert not np.isnan(found).any()
    # An entry is a + b log(1/ε).
    near, nearer = (derivative(differential(Q, nearly(P, eps), loss=loss)) for eps in (1e-50, 1e-100))
    growth = (nearer - near) / (50 * np.log(10))
    grows = np.abs(growth) > 1e-9
    np.testing.assert_array_equal(found[grows], np.sign(growth[grows]) * np.inf)
    np.testing.assert_allclose(found[~grows], nearer[~grows], rtol=1e-9, atol=1e-9)
    assert grows[0].any()
    assert grows[2].any()
    assert not grows[3].any()


@pytest.mark.parametrize("name", DERIVATIVES)
def test_each_row_is_what_it_is_alone(name):
    loss, derivative = family.ReverseKL(), DERIVATIVES[name]
    found = derivative(differential(Q, P, loss=loss))
    for row, (q, p) in enumerate(zip(Q, P, strict=True)):
        np.testing.assert_allclose(found[row], derivative(differential(q, p, loss=loss)), rtol=1e-14, atol=1e-16)
