"""What the heads, their plan and a stream that is read once are given wrongly is named."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

import crossent
from crossent import SoftmaxClassifier

X, W, Y = np.ones((4, 3)), np.ones((5, 3)), np.array([0, 1, 2, 3])
ROWS = np.arange(24.0).reshape(8, 3), np.arange(8) % 2

HEAD = {
    "features without an axis": (np.float64(1.0), W, Y, {}, "x has shape (): expected at least an axis of features"),
    "a weight of one axis": (X, W[0], Y, {}, "weight has shape (3,): expected (C, D)"),
    "no classes": (X, W[:0], Y, {}, "weight has shape (0, 3): expected (C, D) with at least one class"),
    "another number of features": (X, np.ones((5, 2)), Y, {}, "weight"),
    "smoothed labels of weight 0": (X, W, Y, {"class_weight": [0, 0, 0, 0, 1], "label_smoothing": 0.1}, "weight 0"),
}


@pytest.mark.parametrize("case", HEAD)
def test_a_head_says_what_is_wrong(case):
    x, weight, y, options, told = HEAD[case]
    with pytest.raises(ValueError, match=re.escape(told)):
        crossent.linear_cross_entropy(x, weight, y, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "told"),
    [
        ((4, 3, 2.5), {}, TypeError, "an integer"),
        ((4, 3, True), {}, TypeError, "an integer"),
        ((4, 3, 0), {}, ValueError, "an integer of at least 1"),
        ((4, 3, 5), {"dtype": "int8"}, ValueError, "int8"),
        ((4, 3, 5), {"dtype": "no dtype"}, ValueError, "no dtype"),
        ((40000, 3000, 50000), {"max_memory": "1KiB"}, ValueError, "max_memory = '1KiB': expected at least"),
    ],
)
def test_a_plan_says_what_is_wrong(arguments, options, error, told):
    with pytest.raises(error, match=re.escape(told)):
        crossent.head_plan(*arguments, **options)


@pytest.mark.parametrize(
    ("parameters", "arguments", "told"),
    [
        ({}, {"validation": [ROWS]}, "validation is given: expected batches that can be read again"),
        ({"max_epochs": 3}, {}, "max_epochs = 3: expected 'auto' or 1"),
        ({"checkpoint": "somewhere"}, {}, "checkpoint = 'somewhere': expected None"),
    ],
)
def test_a_stream_that_is_read_once_says_what_it_cannot(parameters, arguments, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        SoftmaxClassifier(**parameters).fit_stream(iter([ROWS]), classes=[0, 1], **arguments)


def test_an_empty_stream_is_told():
    with pytest.raises(ValueError, match="batches is empty"):
        SoftmaxClassifier().fit_stream(iter([]), classes=[0, 1])


def torch_cases():
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    x, w, y = torch.ones(4, 3), torch.ones(5, 3), torch.arange(4)
    pair = torch.zeros(4, 2, dtype=torch.int64), torch.full((4, 2), 0.5)
    return {
        "no tensor": (("x", w, y), {}, TypeError, "input"),
        "a bias that is none": ((x, w, y), {"linear_bias": 1.0}, TypeError, "linear_bias"),
        "two dtypes": ((x, w.double(), y), {}, RuntimeError, "of one dtype and device"),
        "whole numbers": ((x.long(), w.long(), y), {}, RuntimeError, "expected floating point input"),
        "a negative shift": ((x, w, y), {"shift": -1}, ValueError, "shift = -1: expected an integer of at least 0"),
        "a shift of one row": ((x[0], w, y[0]), {"shift": 1}, RuntimeError, "dimensionality 2 or 3"),
        "a shift and other rows": ((x, w, y[:3]), {"shift": 1}, ValueError, "expected it to begin with (4,)"),
        "three in a pair": ((x, w, (*pair, y)), {}, TypeError, "a pair of tensors"),
        "a pair of integers": ((x, w, (pair[0], pair[0])), {}, TypeError, "expected integers and floats"),
        "a pair of shapes": ((x, w, (pair[0], pair[1][:, :1])), {}, ValueError, "for both"),
        "a soft cap of nan": ((x, w, y), {"softcap": float("nan")}, ValueError, "a positive finite number, or None"),
    }


TORCH_HEAD = torch_cases()


@pytest.mark.parametrize("case", TORCH_HEAD)
def test_pytorchs_head_says_what_is_wrong(case):
    from crossent.torch import linear_cross_entropy

    arguments, options, error, told = TORCH_HEAD[case]
    with pytest.raises(error, match=re.escape(told)):
        linear_cross_entropy(*arguments, **options)
