"""A real table, a model trained on it by the command, and a way to run the command as a user does."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from forked_commands import Commands
from sklearn.datasets import load_wine


def run_command(*arguments, cwd, **environment):
    """Run the command in a new process."""
    return subprocess.run(
        [sys.executable, "-m", "crossent", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def wine_table():
    """scikit-learn's wines with a name for each cultivar, a category, a truth value, and some values missing."""
    bunch = load_wine(as_frame=True)
    rng = np.random.default_rng(0)
    n = len(bunch.target)
    frame = pl.DataFrame({name: bunch.data[name].to_numpy() for name in bunch.feature_names[:8]})
    frame = frame.with_columns(
        pl.Series("region", rng.choice(["north", "south", "east"], n)),
        pl.Series("organic", rng.random(n) < 0.5),
        pl.Series("bottle", rng.integers(1, 5, n)),
        pl.Series("cultivar", np.array(["barolo", "grignolino", "barbera"])[bunch.target]),
    )
    for name in ("alcohol", "region"):
        gone = pl.Series(rng.random(n) < 0.1)
        frame = frame.with_columns(pl.when(gone).then(None).otherwise(pl.col(name)).alias(name))
    return frame.sample(fraction=1, shuffle=True, seed=1)


@pytest.fixture(scope="session")
def run():
    """Run the command in a process of its own, which has the libraries already."""
    commands = Commands()

    def in_fork(*arguments, cwd, **environment):
        return commands.run(
            [*map(str, arguments)], cwd=cwd, environment={**os.environ, "COLUMNS": "100", **environment}
        )

    yield in_fork
    commands.close()


@pytest.fixture(scope="session")
def wine():
    return wine_table


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with train.csv, new.csv and the model of the first."""
    folder = tmp_path_factory.mktemp("wine")
    frame = wine_table()
    frame[:120].write_csv(folder / "train.csv")
    frame[120:].write_csv(folder / "new.csv")
    done = run_command("train", "train.csv", "--label", "cultivar", "--test", "0.2", "--drop", "bottle", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder
