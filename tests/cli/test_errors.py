"""What goes wrong is said in one line on stderr, with exit code 2."""

import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from crossent.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CROSSENT_DEBUG", raising=False)
    frame = pl.DataFrame({"a": np.arange(40) * 0.5, "b": ["x", "y"] * 20, "y": ["p", "q", "q", "p"] * 10})
    frame.write_csv("t.csv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("years of work")
    return tmp_path


CASES = [
    (["train"], "Missing argument"),
    (["train", "t.csv"], "--label is missing: name the column to predict"),
    (["train", "t.csv", "--label", "why"], "there is no column 'why' (--label)"),
    (["train", "absent.csv", "--label", "y"], "absent.csv: no such file"),
    (["train", "t.csv", "--label", "y", "--hidden", "12x"], "--hidden = '12x': expected layer sizes"),
    (["train", "t.csv", "--label", "y", "--hidden=-3"], "--hidden = '-3': expected layer sizes"),
    (["train", "t.csv", "--label", "y", "--learning-rate", "fast"], "--learning-rate = 'fast': expected auto or"),
    (["train", "t.csv", "--label", "y", "--learning-rate", "0"], "--learning-rate = '0': expected auto or"),
    (["train", "t.csv", "--label", "y", "--class-weight", "even"], "--class-weight = 'even': expected balanced, or"),
    (
        ["train", "t.csv", "--label", "y", "--class-weight", "p=2,p=3"],
        "--class-weight = 'p=2,p=3': expected balanced, or",
    ),
    (["train", "t.csv", "--label", "y", "--class-weight", "r=2"], "--class-weight = 'r': expected one of 'p', 'q'"),
    (
        ["train", "t.csv", "--label", "y", "--optimizer", "lbfgs"],
        "--optimizer = 'lbfgs': expected one of 'sgd', 'adam'",
    ),
    (["train", "t.csv", "--label", "y", "--schedule", "step"], "--schedule = 'step': expected one of 'linear'"),
    (["train", "t.csv", "--label", "y", "--solver", "saga"], "--solver = 'saga': expected one of 'sgd', 'exact'"),
    (["train", "t.csv", "--label", "y", "--solver", "exact"], "--hidden = (128,): expected () with solver='exact'"),
    (["train", "t.csv", "--label", "y", "--momentum", "1"], "--momentum = 1.0: expected a number in [0, 1)"),
    (["train", "t.csv", "--label", "y", "--l1-ratio", "2"], "--l1-ratio = 2.0: expected a number in [0, 1]"),
    (["train", "t.csv", "--label", "y", "--alpha=-1"], "--alpha = -1.0: expected a number in [0, inf)"),
    (["train", "t.csv", "--label", "y", "--dropout", "1"], "--dropout = 1.0: expected a number in [0, 1)"),
    (["train", "t.csv", "--label", "y", "--hidden", "none", "--dropout", "0.5"], "--dropout = 0.5: expected 0 for a"),
    (["train", "t.csv", "--label", "y", "--average", "0"], "--average = 0.0: expected a number in (0, 1]"),
    (["train", "t.csv", "--label", "y", "--tol=-1"], "--tol = -1.0: expected a number in [0, inf)"),
    (["train", "t.csv", "--label", "y", "--dtype", "float16"], "--dtype = 'float16': expected one of 'float32'"),
    (["train", "t.csv", "--label", "y", "--calibrate", "--validation", "0"], "--calibrate = True: expected a --val"),
    (["train", "t.csv", "--label", "y", "--resume"], "model: holds no unfinished run to --resume"),
    (["train", "t.csv", "--label", "y", "--label-smoothing", "1.5"], "--label-smoothing"),
    (["train", "t.csv", "--label", "y", "--validation", "1"], "--validation = 1.0: expected a share"),
    (["train", "t.csv", "--label", "y", "--test", "1.5"], "--test = 1.5: expected a share"),
    (["train", "t.csv", "--label", "y", "--test", "0.001", "--seed", "1"], "holds no row out"),
    (["train", "t.csv", "--label", "y", "--patience", "3", "--validation", "0"], "--patience = 3: expected a --val"),
    (["train", "t.csv", "--label", "y", "--test", "absent.csv"], "absent.csv: no such file"),
    (["train", "t.csv", "--label", "y", "--epochs", "0"], "--epochs"),
    (["train", "t.csv", "--label", "y", "--out", "full"], "full: holds other files (thesis.doc)"),
    (["train", "t.csv", "--label", "y", "--out", "t.csv"], "t.csv: is a file"),
    (["train", "t.csv", "--label", "y", "--out", "no/such/place"], "there is no folder no/such"),
    (["train", "t.csv", "--label", "y", "--categorical", "c"], "there is no column 'c' (--categorical)"),
    (["train", "t.csv", "--label", "y", "--sample-weight", "b"], "column 'b', row 1: 'x' is no sample weight"),
    (["train", "fashion-mnist", "--data-dir", "full"], "dataset-fashion-mnist"),
    (["demo", "--data-dir", "full", "--out", "d"], "dataset-fashion-mnist"),
    (["evaluate", "absent", "t.csv"], "absent"),
    (["evaluate", "full", "t.csv"], "full"),
    (["predict", "absent", "t.csv", "--out", "p.xlsx"], "--out = 'p.xlsx': expected a file ending in .csv or .parquet"),
    (["predict", "absent", "t.csv", "--out", "no/p.csv"], "no/p.csv: cannot be written: there is no folder no"),
    (["predict", "absent", "t.csv"], "Missing option '--out'"),
    (["--debug"], "Missing command"),
    (["fly"], "No such command 'fly'"),
    (["train", "t.csv", "--speed", "9"], "No such option: --speed"),
]


@pytest.mark.parametrize(("arguments", "message"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_an_error_is_one_line_and_exit_code_2(folder, capsys, arguments, message):
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in said
    assert len(said.splitlines()) == 1
    assert said.startswith("crossent")
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_debug_shows_the_traceback(folder, run):
    for arguments, environment in ((["--debug"], {}), ([], {"CROSSENT_DEBUG": "1"})):
        done = run(*arguments, "train", "t.csv", cwd=folder, **environment)
        assert done.returncode not in (0, 2)
        assert "Traceback" in done.stderr
        assert "--label is missing" in done.stderr


def test_predictions_that_cannot_be_named_apart_are_refused(trained, tmp_path, capsys):
    arguments = ["predict", str(trained / "model"), str(trained / "new.csv"), "--out", str(tmp_path / "p.csv")]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--label-column", "p_barolo"])
    assert stop.value.code == 2
    assert "two columns would be called 'p_barolo'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_is_refused(trained, tmp_path, capsys):
    shutil.copytree(trained / "model", tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tmp_path / "m"), str(trained / "new.csv")])
    assert stop.value.code == 2
    assert "weights.safetensors" in capsys.readouterr().err


def test_a_reader_that_stops_reading_gets_no_message():
    command = f"{sys.executable} -m crossent info | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_number_taken_as_a_category_may_not_be_an_identifier(trained, tmp_path, capsys):
    arguments = ["train", str(trained / "train.csv"), "--label", "cultivar", "--out", str(tmp_path / "m")]
    with pytest.raises(SystemExit):
        main([*arguments, "--categorical", "malic_acid"])
    assert "column 'malic_acid': has" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
