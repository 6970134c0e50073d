"""PyTorch's own samples of its operators and modules, and what a result on them has to be."""

from __future__ import annotations

import importlib
import warnings

import pytest
import torch

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def pytorchs_own(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(f"torch.testing._internal.{module}")
        except ImportError as error:
            pytest.skip(f"PyTorch's own samples need {error.name}")


def widened(value):
    """Return an array in float64, a leaf of its own; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().double().requires_grad_(value.requires_grad)
    return value


def same(ours, theirs, exact, tolerances):
    """Compare with PyTorch's; in 16 bits our error against the exact value may not exceed its but for rounding."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    if ours.dtype in tolerances:
        tolerance = tolerances[ours.dtype]
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
        return
    assert torch.equal(ours.isnan(), exact.isnan())
    scale = exact.nan_to_num().abs().max().clamp(min=1e-6)
    error, allowed = ((t.double() - exact).nan_to_num().abs().max() for t in (ours, theirs))
    assert error <= allowed + 2 * torch.finfo(ours.dtype).eps * scale
