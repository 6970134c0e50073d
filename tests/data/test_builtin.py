"""The built-in sets are what they should be, and damaged files of theirs are refused."""

import gzip
import struct

import numpy as np
import pytest

from crossent.data import builtin
from crossent.errors import DataError

FILES = [name for part in builtin._FASHION_FILES.values() for name in part]


def idx(array, magic=None):
    magic = 0x800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        images, labels = builtin._FASHION_FILES[part]
        n = 30 if part == "train" else 10
        (tmp_path / images).write_bytes(gzip.compress(mtime=0, data=idx(rng.integers(0, 256, (n, 28, 28)))))
        (tmp_path / labels).write_bytes(gzip.compress(mtime=0, data=idx(np.arange(n) % 10)))
    return tmp_path


def test_digits_parts_are_fixed_disjoint_and_whole():
    train, test = (builtin.load_builtin("digits", part) for part in ("train", "test"))
    assert len(train.images) + len(test.images) == 1797
    assert np.bincount(test.labels).min() >= 33
    again = builtin.load_builtin("digits", "test")
    assert np.array_equal(again.images, test.images)
    rows = {image.tobytes() for image in train.images}
    assert sum(image.tobytes() in rows for image in test.images) == 0


def test_fashion_mnist_is_read_from_a_folder(folder):
    train = builtin.load_builtin("fashion-mnist", "train", folder)
    assert train.images.shape == (30, 28, 28)
    assert train.labels.tolist() == [i % 10 for i in range(30)]
    assert train.classes[0] == "T-shirt/top"


def test_absent_files_are_named_with_the_way_to_get_them(folder):
    (folder / FILES[1]).unlink()
    with pytest.raises(DataError) as error:
        builtin.load_builtin("fashion-mnist", "train", folder)
    for word in (str(folder), "dataset-fashion-mnist", "--data-dir", *FILES):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(mtime=0, data=idx(np.zeros((2, 28, 28)), magic=0x801)), "magic number 0x801"),
        (
            gzip.compress(mtime=0, data=idx(np.zeros((2, 28, 28)))[:-1]),
            "holds 1567 bytes of data: its header says 2 x 28 x 28 = 1568",
        ),
        (
            gzip.compress(mtime=0, data=struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 0)),
            "holds 0 bytes of data: its header says 4294967295 x 4294967295 x 0 = 0",
        ),
        (gzip.compress(mtime=0, data=idx(np.zeros((2, 28, 28)))), "30 labels for the 2 images"),
        (gzip.compress(mtime=0, data=b"abc"), "3 bytes long"),
        (gzip.compress(mtime=0, data=idx(np.zeros((30, 28, 28))))[:60], "is not a whole gzip file"),
        (b"no gzip", "is not a whole gzip file"),
    ],
)
def test_damaged_images_are_refused(folder, content, message):
    (folder / FILES[0]).write_bytes(content)
    with pytest.raises(DataError, match=r"ubyte\.gz") as error:
        builtin.load_builtin("fashion-mnist", "train", folder)
    assert message in str(error.value)


def test_a_label_outside_the_classes_is_refused_with_its_row(folder):
    (folder / FILES[1]).write_bytes(gzip.compress(mtime=0, data=idx(np.r_[np.arange(29) % 10, 11])))
    with pytest.raises(DataError, match=r"row 30: label 11 is outside \[0, 10\)"):
        builtin.load_builtin("fashion-mnist", "train", folder)


def test_an_unknown_set_is_refused():
    with pytest.raises(ValueError, match="'digits', 'fashion-mnist'"):
        builtin.load_builtin("mnist", "train")
