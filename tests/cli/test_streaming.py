"""Training on a table that is read in batches: the same model for all that matters, in memory that does not grow."""

import functools
import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from crossent.cli import evaluate, streamed_rows
from crossent.cli.options import Options
from crossent.data import load_trained, pipeline
from crossent.data.streaming import TableStream
from crossent.report import summary

MEASURED = """
import resource, sys
from crossent.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def table(n, d, seed=0):
    """Numbers of which three linear functions choose a class, and a town that matters; sorted by class."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    town = rng.integers(0, 3, n)
    scores = x @ np.random.default_rng(1).normal(size=(d, 3)) + rng.gumbel(size=(n, 3))
    scores[:, 0] += 3 * (town == 2)
    columns = {f"x{i}": x[:, i] * 10**i for i in range(d)}
    names = np.array(["oslo", "bern", "rome"])[town], np.array(["ant", "bee", "cat"])[scores.argmax(axis=1)]
    return pl.DataFrame({**columns, "town": names[0], "kind": names[1]}).sort("kind")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streamed")
    table(12000, 4).write_csv(folder / "train.csv", float_precision=6)
    table(4000, 4, seed=9).write_parquet(folder / "test.parquet")
    return folder


def scores_of(run, folder, *arguments):
    done = run(
        *("train", "train.csv", "--label", "kind", "--hidden", "none", "--test", "test.parquet", "--epochs", "10"),
        *arguments,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    model = folder / "model"
    names = sorted(path.name for path in model.iterdir())
    assert names == ["model.json", "report.html", "weights.safetensors"]
    encoder = json.loads((model / "model.json").read_text())["content"]["extra"]["encoder"]["columns"]
    loss = json.loads(run("evaluate", "model", "test.parquet", "--json", cwd=folder).stdout)["log_loss"]
    return loss, encoder, done


def test_a_sorted_file_gives_the_model_that_it_gives_in_memory(run, folder):
    whole, encoder, _ = scores_of(run, folder, "--validation", "0", "--no-stream")
    streamed, streamed_encoder, done = scores_of(run, folder, "--validation", "0", "--stream")
    assert "train.csv, streamed: 12,000 rows for training, 4,000 for test" in done.stdout
    # All rows are training rows, so that the encoders are the same.
    for one, other in zip(streamed_encoder, encoder, strict=True):
        assert one == {k: pytest.approx(v, rel=1e-12) if isinstance(v, float) else v for k, v in other.items()}
    assert streamed == pytest.approx(whole, rel=0.01)


def test_probabilities_and_weights_and_parts_are_streamed(run, folder):
    frame = table(3000, 4).with_columns(
        *((pl.col("kind") == name).cast(pl.Float64).alias(f"p_{name}") for name in ("ant", "bee", "cat")),
        pl.Series("weight", np.arange(3000) % 3),
    )
    frame.drop("kind").write_csv(folder / "soft.csv")
    done = run(
        *("train", "soft.csv", "--label-probs", "p_ant,p_bee,p_cat", "--sample-weight", "weight", "--stream"),
        *("--hidden", "8", "--calibrate", "--patience", "3", "--test", "0.2", "--out", "soft"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    counts = [int(word.replace(",", "")) for word in done.stdout.splitlines()[0].split() if word[0].isdigit()][:3]
    assert sum(counts) == 3000
    assert 240 < counts[1] < 360
    assert 500 < counts[2] < 700
    scores = json.loads(run("evaluate", "soft", "soft.csv", "--json", cwd=folder).stdout)
    assert scores["log_loss"] < 0.8


def test_bad_rows_are_counted_while_streaming(run, folder):
    lines = (folder / "train.csv").read_text().splitlines()
    lines[4000] = "much,2,3,4,rome,cat"
    lines[9000] = "1,2,3"
    (folder / "bad.csv").write_text("\n".join([*lines, ""]))
    arguments = ("train", "bad.csv", "--label", "kind", "--hidden", "none", "--stream", "--epochs", "1", "--out", "bad")
    stopped = run(*arguments, cwd=folder)
    assert stopped.returncode == 2
    assert "row 9000: has 3 values where the header has 6 (bad.csv:9001)" in stopped.stderr
    assert not (folder / "bad").exists()
    done = run(*arguments, "--skip-bad-rows", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 bad rows left out: bad.csv, column 'x0', row 4000: 'much' is not a finite number" in done.stderr


def peak_memory(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) / 1024


def test_memory_does_not_grow_with_the_rows(tmp_path):
    small, large = 100_000, 300_000
    frame = table(large, 20)
    frame[:: large // small].write_csv(tmp_path / "small.csv", float_precision=4)
    frame.write_csv(tmp_path / "large.csv", float_precision=4)
    numbers_of_the_difference = (large - small) * 21 * 8 / 2**20
    del frame
    train = ("--label", "kind", "--hidden", "none", "--epochs", "1", "--validation", "0.01", "--stream", "-q")
    peaks = [
        peak_memory(tmp_path, "train", f"{name}.csv", *train, "--test", "0.01", "--out", name)
        for name in ("small", "large")
    ]
    assert numbers_of_the_difference > 30
    assert peaks[1] - peaks[0] < numbers_of_the_difference / 2
    peaks = [
        peak_memory(tmp_path, "predict", "small", f"{name}.csv", "--out", f"{name}.parquet")
        for name in ("small", "large")
    ]
    assert peaks[1] - peaks[0] < numbers_of_the_difference / 2
    assert pl.scan_parquet(tmp_path / "large.parquet").select(pl.len()).collect().item() == large
    peaks = [peak_memory(tmp_path, "evaluate", "small", f"{name}.csv") for name in ("small", "large")]
    assert peaks[1] - peaks[0] < numbers_of_the_difference


def test_a_file_is_scored_in_batches_as_it_is_whole(run, folder, monkeypatch):
    arguments = ("train", "train.csv", "--label", "kind", "--hidden", "none", "--epochs", "2", "--out", "scored")
    assert run(*arguments, cwd=folder).returncode == 0
    frame = pl.read_csv(folder / "train.csv").with_columns(pl.Series("weight", np.arange(12000) % 3))
    frame.write_csv(folder / "weighted.csv")
    trained, path, scores = load_trained(folder / "scored"), str(folder / "weighted.csv"), []
    for piece in (2**16, 2**24):
        monkeypatch.setattr(pipeline, "TableStream", functools.partial(TableStream, piece_bytes=piece))
        pipeline.TableStream.takes = TableStream.takes
        batches = list(trained.batches(path, label=True))
        evaluation, kept = evaluate.evaluate(trained, path, "weight", None, keep_rows=True)
        rows = kept[0]
        assert len(rows) == evaluation.n_rows == 12000
        sums, nothing = evaluate.evaluate(trained, path, "weight", None, keep_rows=False)
        assert nothing is None
        assert summary(sums) == pytest.approx(summary(evaluation), rel=1e-12)
        scores.append((len(batches), summary(evaluation), rows.features.to_dict()))
    assert scores[0][0] > 5 * scores[1][0]
    assert scores[0][1] == scores[1][1]
    assert all(a.equals(scores[1][2][name]) for name, a in scores[0][2].items())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("digits",), "--stream = 'digits': expected a CSV, Parquet or Arrow file"),
        (("x.npz",), "--stream = 'x.npz': expected a CSV, Parquet or Arrow file"),
        (("train.csv", "--label", "kind", "--compare", "sklearn"), "--compare = 'sklearn': expected rows in memory"),
        (("train.csv", "--label", "kind", "--hidden", "none", "--solver", "exact"), "--stream is for --solver sgd"),
        (("train.csv", "--label", "kind", "--validation", "0.00001"), "of 12000 rows none is for validation"),
    ],
)
def test_what_cannot_be_streamed_is_refused(run, folder, arguments, problem):
    np.savez(folder / "x.npz", X=np.eye(3), y=np.arange(3))
    done = run("train", *arguments, "--stream", "--out", "refused", cwd=folder)
    assert done.returncode == 2
    assert problem in done.stderr
    assert not (folder / "refused").exists()


@pytest.mark.parametrize(("name", "growth"), [("train.csv", 1), ("test.parquet", 4)])
def test_a_file_that_takes_more_than_half_of_the_free_memory_is_streamed(folder, monkeypatch, name, growth):
    path = folder / name
    limit = 2 * growth * path.stat().st_size
    for available, streamed in ((limit - 1, True), (limit, False), (None, False)):
        monkeypatch.setattr(streamed_rows, "available_memory", lambda available=available: available)
        assert streamed_rows.is_streamed(Options(str(path))) == streamed
        assert streamed_rows.is_streamed(Options(str(path), stream=True))
        assert not streamed_rows.is_streamed(Options(str(path), stream=False))
    assert not streamed_rows.is_streamed(Options("digits"))


def test_the_free_memory_is_known_where_linux_tells_it():
    available = streamed_rows.available_memory()
    assert available is None or 2**20 < available < 2**50
