"""Data in pieces trains the model that it would train as a whole."""

import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from crossent.errors import DataError
from crossent.estimators import SoftmaxClassifier, batches


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return x[order] / 16, y[order]


def pieces(x, y, n=7):
    return [(x[at::n], y[at::n]) for at in range(n)]


@pytest.mark.parametrize("rows", [1, 10, 300])
@pytest.mark.parametrize("options", [{}, {"hidden_layer_sizes": (32,)}, {"optimizer": "adam"}])
def test_partial_fit_learns(digits, options, rows):
    x, y = digits
    model = SoftmaxClassifier(random_state=0, **options)
    end = 500 if rows == 1 else 1500
    for start in range(0, end, rows):
        model.partial_fit(x[start : start + rows], y[start : start + rows], classes=np.arange(10))
    assert model.score(x[1500:], y[1500:]) > 0.8
    assert model.n_iter_ == len(model.loss_curve_) == -(-end // rows)


def test_partial_fit_takes_features_of_any_scale_and_offset(digits):
    x, y = digits
    scores = []
    for moved in (x, x * 255 + 1000):
        model = SoftmaxClassifier(random_state=0)
        for at in range(0, 1500, 50):
            model.partial_fit(moved[at : at + 50], y[at : at + 50], classes=range(10))
        scores.append(model.score(moved[1500:], y[1500:]))
    assert min(scores) > 0.85


def test_unknown_later_classes_are_named(digits):
    x, y = digits
    model = SoftmaxClassifier().partial_fit(x[:100], np.minimum(y[:100], 6), classes=range(7))
    with pytest.raises(ValueError, match=re.escape("y has the classes [7, 8, 9], which are not among [0, 1, 2")):
        model.partial_fit(x, y)
    with pytest.raises(ValueError, match="those of the first call"):
        model.partial_fit(x[:100], y[:100], classes=range(10))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        SoftmaxClassifier().partial_fit(x, y)
    with pytest.raises(ValueError, match="never sees all rows"):
        SoftmaxClassifier(class_weight="balanced").partial_fit(x, y, classes=range(10))


def test_partial_fit_continues_a_fit(digits):
    x, y = digits
    model = SoftmaxClassifier(random_state=0).fit(x[:900], y[:900])
    before = model.predict_proba(x[900:])
    kept = model.score(x[:900], y[:900])
    model.partial_fit(x[900:1000], y[900:1000])
    assert not np.array_equal(model.predict_proba(x[900:]), before)
    assert model.score(x[:900], y[:900]) > kept - 0.03


def test_row_without_weight_changes_nothing(digits):
    x, y = digits
    model = SoftmaxClassifier(random_state=0).partial_fit(x[:200], y[:200], classes=range(10))
    before = model.coefs_[0].copy()
    weight = np.zeros(100)
    with pytest.raises(ValueError, match="zero in every row"):
        model.partial_fit(x[:100], y[:100], sample_weight=weight)
    np.testing.assert_array_equal(model.coefs_[0], before)


def test_poisoned_rows_do_not_ruin_the_model(digits):
    x, y = digits
    model = SoftmaxClassifier((16,), random_state=0)
    for at in range(0, 1000, 100):
        model.partial_fit(x[at : at + 100], y[at : at + 100], classes=range(10))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.partial_fit(x[:10] * 1e12, y[:10])
    assert np.isfinite(model.predict_proba(x)).all()


def test_batches_train_as_well_as_the_whole(digits):
    x, y = digits
    for options in ({}, {"hidden_layer_sizes": (32,)}):
        whole = SoftmaxClassifier(random_state=0, **options).fit(x[:1500], y[:1500])
        parts = SoftmaxClassifier(random_state=0, **options).fit_stream(pieces(x[:1500], y[:1500]))
        losses = [-m.predict_log_proba(x[1500:])[np.arange(len(y) - 1500), y[1500:]].mean() for m in (whole, parts)]
        assert losses[1] < 1.1 * losses[0] + 0.005
        assert parts.classes_.tolist() == list(range(10))


def test_function_that_opens_the_batches_is_called_for_every_pass(digits):
    x, y = digits
    opened = []

    def batches():
        opened.append(1)
        yield from pieces(x, y)

    model = SoftmaxClassifier((8,), random_state=0, max_epochs=3).fit_stream(batches)
    assert len(opened) == 4
    again = SoftmaxClassifier((8,), random_state=0, max_epochs=3).fit_stream(pieces(x, y))
    np.testing.assert_array_equal(model.coefs_[0], again.coefs_[0])


def test_iterator_is_learnt_in_one_pass(digits):
    x, y = digits
    model = SoftmaxClassifier(random_state=0).fit_stream(iter(pieces(x, y)), classes=range(10))
    by_hand = SoftmaxClassifier(random_state=0)
    for piece in pieces(x, y):
        by_hand.partial_fit(*piece, classes=range(10))
    np.testing.assert_array_equal(model.coef_, by_hand.coef_)


def test_words_weights_and_missing_classes_in_batches(digits):
    x, y = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[y]
    parts = [(x[y < 5], names[y < 5], np.ones((y < 5).sum())), (x[y >= 5], names[y >= 5], 2 * np.ones((y >= 5).sum()))]
    mixed = [tuple(np.concatenate([a[at::2] for a in column]) for column in zip(*parts)) for at in (0, 1)]
    model = SoftmaxClassifier(random_state=0).fit_stream(mixed)
    assert model.classes_.tolist() == sorted(set(names))
    assert model.score(x, names) > 0.97


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (lambda x, y: 5, {}, "batches is a int"),
        (lambda x, y: [x], {}, "batches\\[0\\] is a ndarray"),
        (lambda x, y: [], {}, "no row of any weight"),
        (lambda x, y: iter([(x, y)]), {}, "classes must be passed"),
        (lambda x, y: [(x, y), (x[:, :3], y)], {}, "X has 3 features"),
        (lambda x, y: [(x, y)], {"label": "y"}, "only Parquet files"),
    ],
)
def test_bad_batches_are_refused(digits, given, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SoftmaxClassifier().fit_stream(given(*digits), **options)


def test_pass_that_gives_other_batches_is_refused(digits):
    x, y = digits
    passes = iter(range(100))

    def shrinking():
        n = 900 - next(passes)
        yield x[:n], y[:n]

    with pytest.raises(ValueError, match="expected the same in every pass"):
        SoftmaxClassifier().fit_stream(shrinking)


def test_early_stopping_of_batches_needs_validation(digits):
    x, y = digits
    with pytest.raises(ValueError, match="validation = None"):
        SoftmaxClassifier(early_stopping=True).fit_stream(pieces(x, y))
    model = SoftmaxClassifier(early_stopping=True, calibrate=True, random_state=0)
    model.fit_stream(pieces(x[:1500], y[:1500]), validation=(x[1500:], y[1500:]))
    assert len(model.validation_scores_) == model.n_iter_
    assert model.temperature_ != 1


def test_interrupted_stream_goes_on_to_the_same_bits(digits, tmp_path):
    x, y = digits
    whole = SoftmaxClassifier(random_state=0).fit_stream(pieces(x, y))

    def stop(event):
        if event.epoch == 7 and event.batch > 8:
            raise KeyboardInterrupt

    model = SoftmaxClassifier(random_state=0, checkpoint=tmp_path / "run", callbacks=[stop])
    with pytest.raises(KeyboardInterrupt):
        model.fit_stream(pieces(x, y))
    resumed = model.set_params(callbacks=None).fit_stream(pieces(x, y))
    assert resumed.coef_.tobytes() == whole.coef_.tobytes()
    assert resumed.loss_curve_ == whole.loss_curve_


def write(x, y, folder, files=3):
    folder.mkdir()
    for at in range(files):
        table = pl.DataFrame(x[at::files], schema=[f"pixel{k}" for k in range(x.shape[1])], orient="row")
        table.with_columns(digit=pl.Series(y[at::files]), weight=pl.lit(1.0)).write_parquet(folder / f"{at}.parquet")
    return folder


def test_parquet_files_are_read_block_by_block(digits, tmp_path, monkeypatch):
    x, y = digits
    folder = write(x, y, tmp_path / "data")
    monkeypatch.setattr(batches, "BLOCK_VALUES", 64 * 200)
    seen = []
    original = batches.ParquetBatches.read

    def read(self, seed=None):
        for batch in original(self, seed):
            seen.append(len(batch.x))
            yield batch

    monkeypatch.setattr(batches.ParquetBatches, "read", read)
    model = SoftmaxClassifier(random_state=0, max_epochs=20).fit_stream(folder, label="digit", sample_weight="weight")
    assert max(seen) < 260
    assert model.feature_names_in_[0] == "pixel0"
    assert len(model.feature_names_in_) == 64
    assert model.score(pl.DataFrame(x, schema=list(model.feature_names_in_), orient="row"), y) > 0.97


def test_sorted_parquet_file_is_mixed(digits, tmp_path, monkeypatch):
    x, y = digits
    order = np.argsort(y, kind="stable")
    monkeypatch.setattr(batches, "BLOCK_VALUES", 64 * 200)
    folder = write(x[order], y[order], tmp_path / "data", files=1)
    model = SoftmaxClassifier(random_state=0, max_epochs=20).fit_stream(folder / "0.parquet", label="digit")
    names = list(model.feature_names_in_)
    assert "weight" in names
    assert model.score(pl.DataFrame(x, schema=names[:64], orient="row").with_columns(weight=pl.lit(1.0)), y) > 0.9


def test_parquet_that_cannot_be_used_is_named(digits, tmp_path):
    x, y = digits
    folder = write(x, y, tmp_path / "data", files=1)
    with pytest.raises(DataError, match="column 'dgit': there is no such column"):
        SoftmaxClassifier().fit_stream(folder, label="dgit")
    with pytest.raises(ValueError, match="label = None"):
        SoftmaxClassifier().fit_stream(folder)
    with pytest.raises(FileNotFoundError):
        SoftmaxClassifier().fit_stream(tmp_path / "nothing.parquet", label="y")
    pl.DataFrame({"a": ["x", "y"], "y": [0, 1]}).write_parquet(tmp_path / "words.parquet")
    with pytest.raises(DataError, match=re.escape("column 'a': holds String: expected numbers")):
        SoftmaxClassifier().fit_stream(tmp_path / "words.parquet", label="y")
    pl.DataFrame({"a": [1.0, 2.0], "y": [0, None]}).write_parquet(tmp_path / "gaps.parquet")
    with pytest.raises(DataError, match="rows without a label"):
        SoftmaxClassifier().fit_stream(tmp_path / "gaps.parquet", label="y")


MEMORY = """
import resource, sys
from crossent.estimators import SoftmaxClassifier
SoftmaxClassifier(random_state=0, max_epochs=1, learning_rate=0.1).fit_stream(sys.argv[1], label="y")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Four times the rows, 216 MB more of them, and the peak moves by less than a third of that."""
    x = np.random.default_rng(0).standard_normal((90_000, 100), dtype=np.float32)
    table = pl.DataFrame(x).with_columns(y=pl.Series((x[:, 0] > 0).astype(np.int8)))
    table.write_parquet(tmp_path / "0.parquet")
    peaks = []
    for files in (2, 8):
        folder = tmp_path / str(files)
        folder.mkdir()
        for at in range(files):
            (folder / f"{at}.parquet").hardlink_to(tmp_path / "0.parquet")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", MEMORY, str(folder)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 70


def test_rows_that_come_in_pieces_are_not_shared_over_processes():
    model = SoftmaxClassifier(distributed=True)
    for learn in (lambda: model.partial_fit([[0.0]], [0], classes=[0, 1]), lambda: model.fit_stream([([[0.0]], [0])])):
        with pytest.raises(ValueError, match="distributed = True: expected False"):
            learn()
