"""Everything that reads bytes from outside, each as a function of a few files, and the errors it may answer with."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from crossent.data import TrainedModel, load_trained, read_dataset, save_trained
from crossent.data.bad_rows import BadRows
from crossent.data.builtin import read_idx
from crossent.data.encoder import ImageEncoder, SparseEncoder, TableEncoder
from crossent.data.streaming import TableStream
from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier, load_model, save_model
from crossent.estimators.spread_checkpoints import SpreadCheckpoints

Parts = list[bytes]
RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=12)
X = (RNG.normal(size=(12, 3)) + np.eye(3)[Y]).astype(np.float32)
TABLE = "height,colour,note\n1.5,red,long ago\n2.5,blue,\n,red,now\n3.5,green,then and now\n"


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    Attributes
    ----------
    seeds : function
        Returns good inputs, each a list of files.
    read : function of a list of files
        Reads them, and uses what it has read. It raises nothing but ``errors``.
    """

    n_parts: int
    seeds: Callable[[], list[Parts]]
    read: Callable[[Parts], object]
    errors: tuple[type[Exception], ...] = (DataError, OSError)


@cache
def scratch() -> Path:
    """Return a folder in memory, where there is one."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def folder_of(name: str, files: dict[str, bytes]) -> Path:
    folder = scratch() / name
    folder.mkdir(exist_ok=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return folder


def table_rows(text: str = TABLE):
    path = scratch() / "rows.csv"
    path.write_text(text)
    return read_dataset(path)


def small_model(labels: Any = Y, **parameters: Any) -> SoftmaxClassifier:
    parameters = {"max_epochs": 2, "random_state": 0, "optimizer": "sgd"} | parameters
    return SoftmaxClassifier(**parameters).fit(X, labels)


# -- models ------------------------------------------------------------------------------------------------------------


def trained_models() -> list[TrainedModel]:
    table = TableEncoder.fit(table_rows(), text=("note",), text_features=4)
    encoders = {"table": table, "images": ImageEncoder((1, 3), 2.0), "libsvm": SparseEncoder(3)}
    models = []
    for name, encoder in encoders.items():
        x = RNG.normal(size=(12, len(encoder.feature_names))).astype(np.float32)
        estimator = SoftmaxClassifier((2,) if name == "images" else (), max_epochs=2, random_state=0).fit(x, Y)
        models.append(TrainedModel(estimator, encoder, ["a", "b", "c"], "kind", np.ones(3) / 3, name))
    return models


def model_seeds() -> list[Parts]:
    folder = scratch() / "model-seed"
    found = []
    for model in trained_models():
        save_trained(folder, model)
        found.append([(folder / "model.json").read_bytes(), (folder / "weights.safetensors").read_bytes()])
    for labels in (Y, np.array(["ä", "b", "c"])[Y], Y > 0, Y * 2.0):
        save_model(folder, small_model(labels, class_weight="balanced"), extra={"more": [1, None]})
        found.append([(folder / "model.json").read_bytes(), (folder / "weights.safetensors").read_bytes()])
    shutil.rmtree(folder)
    return found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed_model(document: bytes, weights: bytes) -> bytes:
    """Give an altered model the checksums of what it holds, so that more than the checksum is tried."""
    try:
        found = json.loads(document)
        text = json.dumps(found["content"], sort_keys=True)
        found["sha256"] = {"weights.safetensors": sha256(weights), "content": sha256(text.encode())}
        return json.dumps(found).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return document


def read_model(parts: Parts) -> None:
    document, weights = parts
    folder = folder_of("model", {"model.json": sealed_model(document, weights), "weights.safetensors": weights})
    estimator = load_model(folder).estimator
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    warnings.filterwarnings("ignore", message="overflow encountered")
    probs = estimator.predict_proba(np.zeros((2, estimator.n_features_in_)))
    assert probs.shape == (2, len(estimator.classes_))
    assert len(estimator.predict(np.zeros((1, estimator.n_features_in_)))) == 1
    trained = load_trained(folder)
    if isinstance(trained.encoder, TableEncoder):
        assert trained.logits_of(trained.encode(table_rows()).x).shape == (4, len(trained.classes))


# -- checkpoints -------------------------------------------------------------------------------------------------------


def _stop(event: Any) -> None:
    if event.kind == "batches" and event.epoch == 3:
        raise KeyboardInterrupt


def run_from(folder: Path, callbacks: Any = None, **parameters: Any) -> SoftmaxClassifier:
    parameters = {"max_epochs": 4, "random_state": 0} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # four epochs converge nowhere
        return SoftmaxClassifier(checkpoint=folder, callbacks=callbacks, **parameters).fit(X, Y)


def checkpoint_seeds() -> list[Parts]:
    folder = scratch() / "checkpoint-seed"
    with contextlib.suppress(KeyboardInterrupt):
        run_from(folder, [_stop])
    return [[(folder / "state.json").read_bytes(), (folder / "state.safetensors").read_bytes()]]


def sealed_state(document: bytes, arrays: bytes) -> bytes:
    try:
        return json.dumps(json.loads(document) | {"sha256": sha256(arrays)}).encode()
    except (ValueError, TypeError, RecursionError):
        return document


def read_checkpoint(parts: Parts) -> None:
    state, arrays = parts
    folder = folder_of("checkpoint", {"state.json": sealed_state(state, arrays), "state.safetensors": arrays})
    model = run_from(folder)
    assert all(np.isfinite(array).all() for array in model.coefs_)


def one_rank() -> Any:
    import torch.distributed as dist

    from crossent.ranks import Ranks

    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return Ranks(0, 1, dist.group.WORLD)


SPREAD_RUN = {"what": "this", "seed": "0"}


def spread_seeds() -> list[Parts]:
    from crossent.training.state import Snapshot

    folder = scratch() / "spread-seed"
    keeper = SpreadCheckpoints(folder, SPREAD_RUN, np.random.default_rng(0), one_rank())
    values = {"optimizer": {"steps": 7}, "run": {"epoch": 1}}
    keeper._write(Snapshot({"theta": X.ravel(), "rest": np.eye(3)}, values))
    step = folder / "step-000000000007"
    (shard,) = step.glob("*.safetensors")
    return [[(step / "manifest.json").read_bytes(), shard.read_bytes()]]


def sealed_manifest(document: bytes, shard: bytes) -> bytes:
    try:
        found = json.loads(document)
        found["shards"][0]["sha256"] = sha256(shard)
        return json.dumps(found).encode()
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return document


def read_spread(parts: Parts) -> None:
    manifest, shard = parts
    scratch().joinpath("spread").mkdir(exist_ok=True)
    files = {"manifest.json": sealed_manifest(manifest, shard), "shard-00000-of-00001.safetensors": shard}
    folder_of("spread/step-000000000007", files)
    SpreadCheckpoints(scratch() / "spread", SPREAD_RUN, np.random.default_rng(0), one_rank())


# -- tables ------------------------------------------------------------------------------------------------------------


def csv_seeds() -> list[Parts]:
    quoted = 'a;"b ""c""";w\r\n"1\r\n2";x;0.5\r\n;NaN;1e300\r\n'
    numbers = "x\ty\n" + "".join(f"{i}\t{i % 3}\n" for i in range(30))
    return [[text.encode()] for text in (TABLE, quoted, numbers, "p_a,p_b,x\n0.5,0.5,1\n1,0,2\n")]


def read_csv(parts: Parts) -> None:
    path = scratch() / "table.csv"
    path.write_bytes(parts[0])
    problem = None
    try:
        whole = read_dataset(path)
        TableEncoder.fit(whole).transform(whole)
    except DataError as error:
        problem = error
    read_dataset_of_good_rows(path)
    stream = TableStream(path, piece_bytes=max(40, len(parts[0]) // 4))
    stream.survey()
    sum(len(batch) for batch in stream.batches())
    if problem is not None:
        raise problem


def read_dataset_of_good_rows(path: Path) -> None:
    with contextlib.suppress(DataError):
        read_dataset(path, bad_rows=BadRows(str(path)))


def binary_table_seeds() -> list[Parts]:
    frame = pl.DataFrame({"x": [1.0, None, 3.0], "kind": ["a", "b", "a"], "n": [1, 2, 3]})
    found = []
    for suffix, write in (("parquet", frame.write_parquet), ("arrow", frame.write_ipc)):
        file = io.BytesIO()
        write(file)
        found.append([suffix.encode(), file.getvalue()])
    return found


def read_binary_table(parts: Parts) -> None:
    suffix = "arrow" if parts[0][:1] == b"a" else "parquet"
    path = scratch() / f"table.{suffix}"
    path.write_bytes(parts[1])
    dataset = read_dataset(path)
    TableEncoder.fit(dataset).transform(dataset)


def npz_seeds() -> list[Parts]:
    def npy(array: Any) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    images = RNG.integers(255, size=(3, 2, 2)).astype(np.uint8)
    whole = io.BytesIO()
    np.savez_compressed(whole, X=X, y=Y)
    pairs = ((X, Y), (images, np.array(["a", "b", "a"])), (X.astype(np.float16), Y > 0), (Y.reshape(4, 3), Y[:4] / 2))
    return [[b"whole", whole.getvalue(), b""], *([b"members", npy(x), npy(y)] for x, y in pairs)]


def read_npz(parts: Parts) -> None:
    path = scratch() / "arrays.npz"
    if parts[0][:1] == b"m":
        # The members' checksums are right, so that more than those is tried.
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("X.npy", parts[1])
            archive.writestr("y.npy", parts[2])
    else:
        path.write_bytes(parts[1])
    dataset = read_dataset(path)
    encoder = ImageEncoder if isinstance(dataset.features, np.ndarray) else TableEncoder
    encoder.fit(dataset).transform(dataset)


def svmlight_seeds() -> list[Parts]:
    return [[text] for text in (b"1 0:1 2:0.5\n-1 1:2\n", b"# c\n0.5 qid:3 7:1e3 9:-1 # d\n2 1:1\n", b"3\n4 1:0\n")]


def read_svmlight(parts: Parts) -> None:
    path = scratch() / "rows.libsvm"
    path.write_bytes(parts[0])
    dataset = read_dataset(path)
    SparseEncoder(3).transform(dataset)


def idx_seeds() -> list[Parts]:
    import struct

    return [[struct.pack(">4I", 0x803, 2, 2, 3) + bytes(12)]]


def read_gzipped_idx(parts: Parts) -> None:
    import gzip

    path = scratch() / "images.gz"
    whole = gzip.compress(parts[0], 1)
    # The first bytes of a damaged file may be those of gzip itself.
    path.write_bytes(parts[0] if parts[0][:1] == b"\x1f" else whole)
    read_idx(path, 0x803)


# -- the page ----------------------------------------------------------------------------------------------------------

QUERIES = (
    'probs={"dog":0.5,"cat":0.49,"bird":0.01}&target="dog"',
    'probs=[0,0.75,0.25]&target=[0.5,0.5,0]&pay="everyone"',
    'logits={"x":46,"y":0,"z":"-inf"}&target="x"&pay="x"',
    'logits=[1e308,-1e308]&target=1&classes=["a","b"]',
    "probs=[0.5,0.5]&target=0&pay=[0.5,0.5]",
)


def request_seeds() -> list[Parts]:
    found = [[b"GET", b"/api/explain", query.encode(), b"host: 127.0.0.1\n", b""] for query in QUERIES]
    found.append([b"GET", b"/", b"", b"host: localhost:8265\norigin: http://localhost:8265\n", b""])
    return [*found, [b"GET", b"/api/stories", b"", b"host: 127.0.0.1:8265\nsec-fetch-site: same-origin\n", b""]]


@cache
def page() -> tuple[Any, asyncio.AbstractEventLoop]:
    from crossent.explorer.server import application

    return application(), asyncio.new_event_loop()


def ask(parts: Parts) -> tuple[int, bytes]:
    """Send a request to the page's application, and return the status and the body of its answer."""
    method, path, query, headers, body = parts
    lines = [line.partition(b":") for line in headers.split(b"\n") if b":" in line]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.decode("latin-1"),
        "path": path.decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.strip().lower(), value.strip()) for name, _, value in lines],
        "scheme": "http",
        "server": ("127.0.0.1", 8265),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    app, loop = page()
    loop.run_until_complete(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def read_request(parts: Parts) -> None:
    status, body = ask(parts)
    assert status in (200, 400, 403, 404, 405, 413, 414, 431), status
    if parts[1] == b"/api/explain" and status in (200, 400) and body[:1] == b"{":
        answer = json.loads(body, parse_constant=lambda word: pytest_fail(f"{word} is no JSON"))
        assert status == 200 or (answer["error"] and len(answer["error"]) < 10_000)


def pytest_fail(problem: str) -> None:
    raise AssertionError(problem)


TARGETS = {
    "model": Target(2, model_seeds, read_model),
    "checkpoint": Target(2, checkpoint_seeds, read_checkpoint),
    "spread": Target(2, spread_seeds, read_spread),
    "csv": Target(1, csv_seeds, read_csv),
    "columns": Target(2, binary_table_seeds, read_binary_table),
    "npz": Target(3, npz_seeds, read_npz),
    "svmlight": Target(1, svmlight_seeds, read_svmlight),
    "idx": Target(1, idx_seeds, read_gzipped_idx),
    "request": Target(5, request_seeds, read_request, ()),
}
