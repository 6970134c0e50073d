"""Gradients and Hessians against PyTorch's automatic differentiation in float64."""

import numpy as np
import pytest
import torch
from textbook_losses import CASES

from crossent.family import value_and_logit_gradient


def tensors(case, rng, classes):
    logits = torch.tensor(rng.standard_normal(classes), dtype=torch.float64)
    truth = rng.dirichlet(np.ones(classes))
    if case.hard:
        truth[rng.integers(classes)] = 0.0
        truth /= truth.sum()
    return logits, torch.tensor(truth, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.loss.name)
@pytest.mark.parametrize("classes", [2, 5])
def test_derivatives_agree_with_autograd(case, classes, rng):
    for _ in range(5):
        logits, p = tensors(case, rng, classes)
        probs = torch.softmax(logits, 0)

        def of_probs(q, p=p):
            return case.formula(list(q.unbind()), list(p.unbind()), torch.log)

        q, truth = probs.numpy(), p.numpy()
        ambient = torch.autograd.functional.jacobian(of_probs, probs)
        hessian = torch.autograd.functional.hessian(of_probs, probs)
        np.testing.assert_allclose(case.loss.value(q, truth), of_probs(probs), rtol=1e-13)
        np.testing.assert_allclose(case.loss.ambient(q, truth), ambient, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(case.loss.hessian(q, truth), hessian, rtol=1e-11, atol=1e-11)

        pulled = torch.autograd.functional.jacobian(lambda z: of_probs(torch.softmax(z, 0)), logits)
        loss, grad = value_and_logit_gradient(case.loss, logits.numpy(), truth)
        np.testing.assert_allclose(loss, of_probs(probs), rtol=1e-13)
        np.testing.assert_allclose(grad, pulled, rtol=1e-12, atol=1e-14)
