"""The built-in image sets: ``digits`` (shipped by scikit-learn) and ``fashion-mnist`` (a Debian package)."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossent.errors import DataError, invalid_choice

Part = Literal["train", "test"]
NAMES = ("digits", "fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801


@dataclass(frozen=True)
class ImageSet:
    """Images of one part of a set.

    Attributes
    ----------
    images : uint8 array of shape (n, height, width)
    labels : integer array of shape (n,), an index into ``classes``
    classes : tuple of str
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def load_builtin(name: str, part: Part, data_dir: str | Path | None = None) -> ImageSet:
    """Return the training or the test part of a built-in set.

    Raises
    ------
    DataError
        The files are absent or damaged.

    Examples
    --------
    >>> load_builtin("digits", "test").images.shape
    (359, 8, 8)
    """
    if name == "digits":
        return _digits(part)
    if name == "fashion-mnist":
        return _fashion_mnist(part, fashion_folder(data_dir))
    raise invalid_choice("name", name, NAMES)


def fashion_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder of Fashion-MNIST's four files, or raise the error that says how to get them."""
    folder = _DEBIAN_FOLDER if data_dir is None else Path(data_dir)
    files = [file for part in _FASHION_FILES.values() for file in part]
    absent = [file for file in files if not (folder / file).is_file()]
    if absent:
        raise DataError(
            f"Fashion-MNIST is not there ({', '.join(absent)} missing): install the Debian package "
            f"dataset-fashion-mnist, or point --data-dir to a folder with the four files {', '.join(files)}",
            path=folder,
        )
    return folder


def _digits(part: Part) -> ImageSet:
    from sklearn.datasets import load_digits

    from crossent.data.split import stratified_holdout

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    # The set has no test part of its own: this one is the same in every run, so that scores can be compared.
    parts = dict(zip(("train", "test"), stratified_holdout(labels, 0.2, np.random.default_rng(0))))
    rows = parts[part]
    return ImageSet(bunch.images.astype(np.uint8)[rows], labels[rows], tuple("0123456789"))


def _fashion_mnist(part: Part, folder: Path) -> ImageSet:
    images_file, labels_file = (folder / file for file in _FASHION_FILES[part])
    images = read_idx(images_file, _IMAGES_MAGIC)
    labels = read_idx(labels_file, _LABELS_MAGIC)
    if len(images) != len(labels):
        raise DataError(
            f"holds {len(labels)} labels for the {len(images)} images of {images_file.name}", path=labels_file
        )
    if labels.size and labels.max() >= len(FASHION_CLASSES):
        row = int(np.argmax(labels >= len(FASHION_CLASSES)))
        raise DataError(f"label {labels[row]} is outside [0, {len(FASHION_CLASSES)})", path=labels_file, row=row + 1)
    return ImageSet(images, labels.astype(np.int64), FASHION_CLASSES)


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes: magic number, one size per axis (big-endian), the bytes."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"is not a whole gzip file: {error}", path=path) from error
    n_axes = magic & 0xFF
    header = 4 * (1 + n_axes)
    if len(content) < header:
        raise DataError(f"is {len(content)} bytes long: expected an idx header of {header} bytes", path=path)
    found, *shape = struct.unpack(f">{1 + n_axes}I", content[:header])
    if found != magic:
        raise DataError(f"starts with the magic number {found:#x}: expected {magic:#x} of an idx file", path=path)
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected or not expected:
        axes = " x ".join(map(str, shape))
        problem = f"holds {len(content) - header} bytes of data: its header says {axes} = {expected}"
        raise DataError(problem, path=path)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
