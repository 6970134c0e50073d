"""The help is quick and has examples; info tells what is there; the demo runs whole."""

import json
import re
import subprocess
import sys
import time

import pytest

import crossent

COMMANDS = ("train", "evaluate", "predict", "explain", "export", "info", "demo")


def test_the_help_names_every_command(tmp_path, run):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^\W+{name} ", done.stdout, re.MULTILINE)
    assert run(cwd=tmp_path).stdout == done.stdout


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "export", "info", "demo"])
def test_the_help_of_a_command_has_examples_as_they_are_typed(tmp_path, name, run):
    done = run(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    examples = re.findall(rf"^\W*(crossent {name}[^│\n]*?)\s*$", done.stdout, re.MULTILINE)
    assert examples
    for example in examples:
        assert example.count("crossent") == 1


def test_the_version_is_said(tmp_path, run):
    assert run("--version", cwd=tmp_path).stdout == f"crossent {crossent.__version__}\n"


def test_the_help_loads_no_heavy_library():
    code = (
        "import sys; from crossent.cli import app; "
        "print([m for m in ('polars', 'sklearn', 'matplotlib', 'scipy', 'safetensors', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_library_does_not_load_the_command_line():
    code = "import sys, crossent; print([m for m in sys.modules if m.startswith(('crossent.cli', 'typer', 'rich'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_training_run_loads_none_of_scikit_learn(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n" + "1,a\n2,b\n" * 50)
    code = (
        "import sys; from crossent.cli import app\n"
        "app(['train', 't.csv', '--label', 'y', '--test', 't.csv', '--no-report', '-q'], standalone_mode=False)\n"
        "print([m for m in ('sklearn', 'pandas', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr


def test_info_says_what_runs(tmp_path, run):
    facts = json.loads(run("info", "--json", cwd=tmp_path, OMP_NUM_THREADS="1").stdout)
    assert facts["crossent"] == crossent.__version__
    assert facts["cpu_level"] == crossent.cpu_level()
    assert facts["cpu_levels"] == list(crossent.cpu_levels())
    assert facts["threads"] == 1
    assert facts["blas"][0]["threads"] >= 1
    assert facts["libraries"]["torch"] is None or re.match(r"\d+\.\d+", facts["libraries"]["torch"])
    text = run("info", cwd=tmp_path).stdout
    for word in ("numpy", "CPU level", "threads", "BLAS", "fashion-mnist", "digits"):
        assert word in text
    forced = run("info", "--json", cwd=tmp_path, CROSSENT_CPU_LEVEL="baseline")
    assert json.loads(forced.stdout)["cpu_level"] == "baseline"


def test_digits_are_trained_to_a_good_model(tmp_path, run):
    assert run("train", "digits", "--quiet", "--out", "m", cwd=tmp_path).returncode == 0
    scores = json.loads(run("evaluate", "m", "digits", "--json", cwd=tmp_path).stdout)
    assert scores["rows"] == 359
    assert scores["log_loss"] < 0.15
    assert scores["accuracy"] > 0.95


def test_the_demo_trains_scores_reports_and_explains_in_time(tmp_path, run):
    start = time.perf_counter()
    done = run("demo", "--out", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 120
    loss = float(re.search(r"test log-loss\s+(\d\.\d+) nats", done.stdout)[1])
    assert loss < 0.33
    for word in ("test accuracy", "expected calibration error", "nobody", "logit gradient", "Then try:"):
        assert word in done.stdout
    assert (tmp_path / "demo" / "model" / "report.html").exists()
    again = run("demo", "--out", "demo", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
