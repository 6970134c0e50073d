"""A fitted classifier as an ONNX graph of standard operators: features in, label and probabilities out."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crossent.errors import invalid_type
from crossent.estimators.prediction import check_is_fitted
from crossent.estimators.softmax_model import SoftmaxModel

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]
# The first version whose Equal compares strings, and the file format that came with it.
OPSET, IR_VERSION = 19, 9


class Graph:
    """Nodes, constants and inputs of a graph under construction; every tensor has a name of its own."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as missing:
            raise ModuleNotFoundError("ONNX export needs the package onnx: pip install 'crossent[onnx]'") from missing
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def input(self, name: str, dtype: Any, shape: list[str | int]) -> str:
        """Add an input of a NumPy dtype, or of strings for ``str``, and return its name."""
        self._inputs.append(self._value(name, dtype, shape))
        return name

    def constant(self, value: Any) -> str:
        """Add a constant and return its name."""
        array = np.asarray(value)
        name = f"crossent/constant_{len(self._constants)}"
        if array.dtype.kind in "OU":
            tensor = self._onnx.helper.make_tensor(
                name, self._onnx.TensorProto.STRING, array.shape, [text.encode() for text in array.ravel().tolist()]
            )
        else:
            tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        self._constants.append(tensor)
        return name

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        name = output or f"crossent/{operator}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """Add the conversion to a NumPy dtype and return its name."""
        return self.node("Cast", value, to=self._type(dtype))

    def model(self, outputs: list[tuple[str, Any, list[str | int]]], notes: dict[str, str]) -> ModelProto:
        """Return the checked model."""
        helper = self._onnx.helper
        results = [self._value(*output) for output in outputs]
        graph = helper.make_graph(self._nodes, "crossent", self._inputs, results, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name, model.producer_version = "crossent", version("crossent")
        helper.set_model_props(model, notes)
        self._onnx.checker.check_model(model, full_check=True)
        checked: ModelProto = model
        return checked

    def _type(self, dtype: Any) -> int:
        if dtype is str:
            return int(self._onnx.TensorProto.STRING)
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _value(self, name: str, dtype: Any, shape: list[str | int]) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self._type(dtype), shape)


def to_onnx(estimator: SoftmaxModel) -> ModelProto:
    """Return a fitted classifier as an ONNX model.

    Its input ``X``, (n, d) in the classifier's dtype, gives ``label`` (n,) and ``probabilities`` (n, C), the columns in
    the order of ``classes_``.

    Raises
    ------
    ModuleNotFoundError
        Without the package onnx (extra ``onnx``).
    TypeError
        For classes that are not str, int, float or bool.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from crossent.estimators import SoftmaxClassifier
    >>> model = SoftmaxClassifier(random_state=0).fit(*load_iris(return_X_y=True))
    >>> [output.name for output in to_onnx(model).graph.output]
    ['label', 'probabilities']
    """
    check_is_fitted(estimator)
    graph = Graph()
    x = graph.input("X", estimator._dtype, ["n", estimator.n_features_in_])
    return add_classifier(graph, x, estimator, onnx_classes(estimator.classes_), {})


def add_classifier(graph: Graph, x: str, estimator: SoftmaxModel, classes: Array, notes: dict[str, str]) -> ModelProto:
    """Return the model that classifies the features ``x``, in the estimator's dtype."""
    dtype = estimator._dtype
    for at, (weight, bias) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        if at:
            x = graph.node("Relu", x)
        x = graph.node("Gemm", x, graph.constant(weight), graph.constant(bias))
    if estimator.temperature_ != 1:
        x = graph.node("Div", x, graph.constant(np.array(estimator.temperature_, dtype)))
    graph.node("Softmax", x, output="probabilities", axis=1)
    best = graph.node("ArgMax", x, axis=1, keepdims=0)
    graph.node("Gather", graph.constant(classes), best, output="label")
    kind = str if classes.dtype.kind in "OU" else classes.dtype
    outputs: list[tuple[str, Any, list[str | int]]] = [
        ("label", kind, ["n"]),
        ("probabilities", dtype, ["n", len(classes)]),
    ]
    return graph.model(outputs, notes)


def onnx_classes(classes: Array) -> Array:
    """Return the classes in a type that ONNX has: strings, int64, float64 or bool."""
    values = classes.tolist()
    for kind, dtype in ((str, object), (bool, np.bool_), (int, np.int64), (float, np.float64)):
        if all(type(value) is kind for value in values):
            return np.array(values, dtype=dtype)
    odd = next(
        value for value in values if type(value) is not type(values[0]) or not isinstance(value, (str, int, float))
    )
    raise invalid_type(f"class {odd!r}", odd, "classes all of one type: str, int, float or bool")
