"""``crossent train`` under torchrun reads, process by process, what one process reads of the same file."""

import gzip

import numpy as np
import polars as pl
import pytest
import share_work

N = 300


def table(n=N):
    rng = np.random.default_rng(0)
    # Whole until late, a number hidden in text, a category that only few rows have, and quoted line ends.
    late = [str(i % 7) if i < n - 20 else f"{i % 7}.5" for i in range(n)]
    return pl.DataFrame(
        {
            "late": late,
            "number": rng.normal(size=n),
            "kind": [["red", "green", "blue, or so"][i % 3] if i != n - 2 else "mauve" for i in range(n)],
            "words": [f'line "one"\nline {i % 5}' for i in range(n)],
            "gaps": [None if i % 11 == 0 else i % 4 for i in range(n)],
            "label": [f"class {i * i % 4}" for i in range(n)],
            "weight": rng.integers(0, 3, n),
        }
    )


def write_csv(path, frame=None):
    text = (table() if frame is None else frame).write_csv(null_value="NA")
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return {"data": str(path), "label": "label"}


def libsvm(path, n=N):
    rng = np.random.default_rng(1)
    path.write_text(
        "".join(
            f"{i % 3} " + " ".join(f"{k}:{rng.normal():.3f}" for k in sorted(rng.choice(40, 5, replace=False))) + "\n"
            for i in range(n)
        )
    )
    return {"data": str(path)}


def npz(path, shape=(N, 6), save=np.savez, order="C"):
    rng = np.random.default_rng(2)
    save(path, X=np.asarray(rng.integers(0, 200, shape), dtype=np.uint8, order=order), y=np.arange(shape[0]) % 3)
    return {"data": str(path)}


def parquet(path, write="write_parquet"):
    frame = table().with_columns(pl.col("late").cast(pl.Float64))
    getattr(frame, write)(path, **({"row_group_size": 40} if write == "write_parquet" else {}))
    return {"data": str(path), "label": "label"}


def bad_rows(path):
    wrong = pl.int_range(N).is_in([5, 180, 299])
    frame = table().with_columns(pl.when(wrong).then(pl.lit("none")).otherwise("late").alias("late"))
    options = write_csv(path, frame)
    path.write_text(path.read_text() + "7,8\n")
    return {**options, "skip_bad_rows": True}


def probabilities(path):
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(3), N)
    frame = pl.DataFrame({"a": rng.normal(size=N), **{f"p_{c}": p[:, c] for c in range(3)}})
    frame.write_csv(path)
    return {"data": str(path), "label_probs": ("p_0", "p_1", "p_2")}


CASES = {
    "csv": lambda d: write_csv(d / "a.csv"),
    "csv with weights": lambda d: write_csv(d / "a.csv") | {"sample_weight": "weight", "test": 0.2, "drop": ("words",)},
    "csv with bad rows": lambda d: bad_rows(d / "a.csv"),
    "csv with blank lines": lambda d: blank_lines(d / "a.csv"),
    "csv with text": lambda d: write_csv(d / "a.csv") | {"text": ("words",), "text_features": 64},
    "csv with an inch": lambda d: inches(d / "a.csv"),
    "csv.gz": lambda d: write_csv(d / "a.csv.gz"),
    "probabilities": lambda d: probabilities(d / "a.csv"),
    "short csv": lambda d: write_csv(d / "a.csv", table(9).drop("weight")) | {"validation": 0.0},
    "parquet": lambda d: parquet(d / "a.parquet"),
    "arrow": lambda d: parquet(d / "a.arrow", "write_ipc"),
    "parquet with bad rows": lambda d: parquet(d / "a.parquet") | {"skip_bad_rows": True},
    "npz": lambda d: npz(d / "a.npz"),
    "npz of images": lambda d: npz(d / "a.npz", (N, 4, 5)),
    "npz, compressed": lambda d: npz(d / "a.npz", save=np.savez_compressed),
    "npz by columns": lambda d: npz(d / "a.npz", order="F"),
    "libsvm": lambda d: libsvm(d / "a.svm"),
    "short libsvm": lambda d: libsvm(d / "a.svm", 6) | {"validation": 0.0},
    "digits": lambda d: {"data": "digits"},
}


def blank_lines(path):
    options = write_csv(path, table().drop("words"))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line + ("\n" if i % 17 == 3 else "") for i, line in enumerate(lines)))
    return options


def inches(path):
    options = write_csv(path, table().drop("words"))
    path.write_text(path.read_text().replace("green", 'gre"en', 1))
    return options


@pytest.mark.parametrize("case", CASES)
def test_rows_and_encoder_are_those_of_one_process(pools, tmp_path, case):
    options = CASES[case](tmp_path)
    expected = share_work.alone(options)
    for size in (2, 4):
        found = pools[size].run(share_work.spread, options)
        if case == "csv with an inch":  # which no process can read
            assert found == [expected] * size
            continue
        assert not isinstance(found[0], str), found[0]
        parts, about, frequencies = expected
        for rank, (own, own_about, own_frequencies) in enumerate(found):
            np.testing.assert_allclose(own_frequencies, frequencies, rtol=1e-12)
            compare(own_about["encoder"], about["encoder"])
            assert own_about["classes"] == about["classes"]
            if rank == 0:
                assert own_about["counts"] == about["counts"]
                assert own_about["notes"] == about["notes"]
            if "validation" in parts:
                same(own["validation"], parts["validation"])
        same(share_work.joined([own["training"] for own, _, _ in found]), parts["training"])
        if "test" in parts:
            same(found[0][0]["test"], parts["test"])


def same(found, expected):
    for name, array in expected.items():
        if array is None:
            assert found[name] is None
        else:
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def compare(found, expected):
    """Compare two encoders, numbers to rounding."""
    assert found["kind"] == expected["kind"]
    for one, other in zip(found.pop("columns", []), expected.get("columns", []), strict=True):
        assert {**one, "mean": 0.0, "std": 0.0} == {**other, "mean": 0.0, "std": 0.0}
        for name in ("mean", "std"):
            assert one.get(name, 0.0) == pytest.approx(other.get(name, 0.0), rel=1e-12, abs=1e-15)
    assert found == {name: value for name, value in expected.items() if name != "columns"}


def insert(line):
    return lambda lines: [*lines[:250], line, *lines[250:]]


def put(column, value):
    def spoil(lines):
        values = lines[281].split(",")
        values[column] = value
        return [*lines[:281], ",".join(values), *lines[282:]]

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (insert("1,2,3,4,5,6,7,8,9\n"), "row 250: has 9 values where the header has 6"),
        (insert("1,2\n"), "row 250: has 2 values where the header has 6"),
        (put(3, "much"), "row 281: 'much' is not a number"),
        (put(4, "NA"), "row 281: the row has no label"),
        (put(5, "-1\n"), "row 281: -1 is no sample weight"),
    ],
)
def test_a_bad_row_is_named_by_its_place_in_the_file(pools, tmp_path, spoil, said):
    options = write_csv(tmp_path / "a.csv", table().drop("words")) | {"sample_weight": "weight", "validation": 0.0}
    lines = (tmp_path / "a.csv").read_text().replace('"blue, or so"', "blue").splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join(spoil(lines)))
    for size in (2, 3):
        for message in pools[size].run(share_work.spread, options):
            assert said in message


@pytest.mark.parametrize("kind", ["a.csv", "a.parquet", "a.npz", "a.svm"])
def test_a_process_reads_its_part_only(pools, tmp_path, kind):
    n, path = 60_000, tmp_path / kind
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 6)).astype(np.float32), np.arange(n) % 3
    if kind == "a.npz":
        np.savez(path, X=x, y=y)
    elif kind == "a.svm":
        libsvm(path, n)
    else:
        frame = pl.DataFrame({**{f"x{i}": x[:, i] for i in range(6)}, "label": y})
        frame.write_csv(path) if kind == "a.csv" else frame.write_parquet(path, row_group_size=5000)
    options = {"data": str(path), "label": "label" if kind in ("a.csv", "a.parquet") else None, "validation": 0.0}
    size = path.stat().st_size
    passes = 4 if kind == "a.csv" else 1  # quotation marks, rows, types, values
    for read, rows, ranks in pools[4].run(share_work.bytes_read, options):
        assert rows == pytest.approx(n / ranks, rel=0.01)
        assert read < (passes / ranks + 0.2) * size + 2**20
