from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]

def label_loss(
    storage: int,
    logits: _Array,
    label: _Array,
    row_weight: _Array | None,
    scale: float,
    z_loss: float,
    loss: _Array | None,
    grad: _Array | None,
    n_threads: int,
) -> float: ...
def distribution_loss(
    storage: int,
    logits: _Array,
    label: _Array | None,
    probs: _Array | None,
    probs_wide: bool,
    class_weight: _Array | None,
    smoothing: float,
    row_weight: _Array | None,
    scale: float,
    z_loss: float,
    z_weight: _Array | None,
    loss: _Array | None,
    grad: _Array | None,
    n_threads: int,
) -> float: ...
def available_levels() -> list[str]: ...
def selected_level() -> str: ...
def select_level(name: str) -> None: ...
def max_threads() -> int: ...

class Pages: ...

def take_pages(bytes: int) -> Pages: ...

# The two float types of the training engine differ in nothing that a type checker can see.
class _Rows:
    def __init__(
        self,
        count: int,
        features: int,
        classes: int,
        *,
        x: _Array | None = None,
        bytes: _Array | None = None,
        byte_scale: float = 1.0,
        indptr: _Array | None = None,
        indices: _Array | None = None,
        data: _Array | None = None,
        center: _Array | None = None,
        labels: _Array | None = None,
        probs: _Array | None = None,
        probs_indptr: _Array | None = None,
        probs_indices: _Array | None = None,
        probs_data: _Array | None = None,
        weight: _Array | None = None,
        class_weight: _Array | None = None,
        smoothing: float = 0.0,
    ) -> None: ...

class _Network:
    def __init__(self, sizes: list[int], *, max_rows: int, gemm: object, n_threads: int) -> None: ...
    @property
    def n_parameters(self) -> int: ...
    def train(
        self,
        rows: _Rows,
        order: _Array,
        bounds: _Array,
        learning_rate: _Array,
        theta: _Array,
        state: _Array,
        *,
        average: _Array | None,
        rate_scale: _Array,
        feature_rate: _Array | None,
        optimizer: int,
        momentum: float,
        nesterov: bool,
        l2: float,
        l1: float,
        dropout: float,
        seed: int,
        mass_per_row: float,
        loss_limit: float,
        feature_scale: float,
        steps_before: int,
        weight_before: float,
        averaged_before: int,
        sum: object = None,
        batch_rows: _Array | None = None,
        place: _Array | None = None,
    ) -> tuple[int, float]: ...
    def gradient(self, rows: _Rows, order: _Array, theta: _Array, scale: float, grad_out: _Array) -> float: ...
    def evaluate(self, rows: _Rows, order: _Array, theta: _Array) -> tuple[float, int]: ...

class Rows32(_Rows): ...
class Rows64(_Rows): ...
class Network32(_Network): ...
class Network64(_Network): ...

class _HeadRows:
    def __init__(
        self,
        count: int,
        classes: int,
        groups: int,
        *,
        entry_class: _Array | None,
        entry_value: _Array | None,
        probs: _Array | None,
        class_weight: _Array | None,
        smoothing: float,
        row_weight: _Array | None,
        z_weight: _Array | None,
        z_loss: float,
        scale: float,
        softcap: float,
        n_threads: int,
    ) -> None: ...
    def add_bias(self, z: _Array, first: int, bias: _Array) -> None: ...
    def survey(self, z: _Array, first: int, group: int) -> None: ...
    def survey_narrow(
        self,
        product: _Array,
        first: int,
        group: int,
        *,
        scale: float,
        bias: _Array | None,
        entry_product: _Array | None,
    ) -> None: ...
    def gradient_narrow(
        self,
        product: _Array,
        first: int,
        *,
        scale: float,
        bias: _Array | None,
        entry_product: _Array | None,
        entry_grad_out: _Array,
    ) -> None: ...
    def conclude(self) -> None: ...
    def results(self, loss: _Array, lse: _Array | None, leader: _Array | None) -> None: ...
    def thin(self, grad: _Array, first: int, threshold: float, seed: int, row_number: _Array) -> None: ...
    def gradient(self, z: _Array, first: int, sums: _Array | None) -> None: ...
    def target_gradient(self, z: _Array, first: int, target_out: _Array) -> None: ...
    def entry_target_gradient(self, out: _Array) -> None: ...

class HeadRows32(_HeadRows): ...
class HeadRows64(_HeadRows): ...

class _Head:
    def __init__(
        self,
        gemm: object,
        weight: _Array,
        *,
        bfloat: bool,
        bias: _Array | None,
        logit_scale: float,
        row_block: int,
        class_tile: int,
    ) -> None: ...
    def forward(self, chunk: _HeadRows, x: _Array, kept: _Array | None) -> None: ...
    def backward(
        self,
        chunk: _HeadRows,
        x: _Array,
        *,
        kept: _Array | None,
        x_parts: _Array | None,
        x_grad: _Array | None,
        weight_grad: _Array | None,
        fresh: bool,
        bias_sums: _Array | None,
        target_grad: _Array | None,
        threshold: float,
        seed: int,
        row_number: _Array | None,
        stepped: _Array | None,
        velocity: _Array | None,
        rate: float,
        momentum: float,
        decay: float,
    ) -> None: ...

class Head32(_Head): ...
class Head64(_Head): ...

def add_thin_products(
    grad: _Array,
    first: int,
    threshold: _Array,
    seed: int,
    row_number: _Array,
    x: _Array,
    weight: _Array,
    x_grad: _Array | None,
    weight_grad: _Array | None,
    n_threads: int,
) -> None: ...
