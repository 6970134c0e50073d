"""ONNX's cases for SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss, run by crossent as a backend.

This file is plugin and tests at once: the cases come from onnx.backend.test as test classes.
"""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import torch
from onnx.backend.base import Backend, BackendRep
from recorder import counted

import crossent
from crossent.torch import cross_entropy_from_log_probs

cross_entropy = counted(crossent.cross_entropy)
log_loss = counted(cross_entropy_from_log_probs)


class _Loss(BackendRep):
    def __init__(self, node: onnx.NodeProto) -> None:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.options = {"reduction": given.get("reduction", b"mean").decode()}
        if "ignore_index" in given:
            self.options["ignore_index"] = given["ignore_index"]
        self.is_softmax, self.outputs = node.op_type == "SoftmaxCrossEntropyLoss", len(node.output)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        x, target, weight = (*inputs, None)[:3]
        if not self.is_softmax:
            weight = None if weight is None else torch.from_numpy(weight)
            loss = log_loss(torch.from_numpy(x), torch.from_numpy(target), weight=weight, **self.options)
            return (loss.numpy(),)
        loss = cross_entropy(x, target, weight=weight, axis=1, convention="onnx", **self.options)
        if self.outputs == 1:
            return (np.asarray(loss),)
        classes = [
            -cross_entropy(x, np.full(target.shape, c), reduction="none", axis=1, convention="onnx", ignore_index=-1)
            for c in range(x.shape[1])
        ]
        return np.asarray(loss), np.stack(classes, axis=1)


class CrossentBackend(Backend):
    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> BackendRep:
        node = model.graph.node[0]
        if len(model.graph.node) > 1:
            raise unittest.SkipTest("the operator written in other operators: there is no loss to put in its place")
        return _Loss(node)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


globals().update(
    onnx.backend.test.BackendTest(CrossentBackend, __name__).include(r"test_(sce|nllloss)_\w*_cpu").test_cases
)
