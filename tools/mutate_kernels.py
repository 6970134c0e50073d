"""Change the kernels' source a sign, a comparison or a number at a time; list what the accuracy tests do not notice.

    python tools/mutate_kernels.py label_scalars.hpp exp_log.hpp [--lines 40-60] [--level x86-64-v3]

Each mutant of native/kernels/FILE is compiled, with the label kernels of float32 and float64 alone, into a library of
its own, and judged by the families, the oracle and the promise of tests/accuracy, with and without z-loss and weights.
A survivor either gives the same bits everywhere (what was changed does not matter there, or makes the code faster), or
other bits within the promise (a coefficient's last digits). Both are printed, to be looked at. Known in
label_scalars.hpp: at d = 0 both branches agree; exp(-|D|) is 0 whichever bound below -780 is taken; the sign of the
residual of D where the label trails, which moves a result by at most an ulp.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402
from families import FLOAT32, FLOAT64, families  # noqa: E402
from judge import PROMISES, measure  # noqa: E402
from oracle import exact_labels  # noqa: E402

from crossent import reference  # noqa: E402

KERNELS = ROOT / "native" / "kernels"
CLASSES = {2: 12, 3: 12, 10: 24, 47: 8, 100: 6, 700: 3}  # and how many rows of each family
SECONDS = 60  # a mutant that takes longer loops for ever
HARNESS = """
#include "kernels/label_tile.hpp"
extern "C" double label32(const crossent::LabelJob& job, i64 n, void* s) { return label_kernel<Float32>(job, 0, n, s); }
extern "C" double label64(const crossent::LabelJob& job, i64 n, void* s) { return label_kernel<Float64>(job, 0, n, s); }
"""
SWAPS = (
    (r"(?<=[\w)\]]) \+ (?=[\w(-])", " - "),
    (r"(?<=[\w)\]]) - (?=[\w(-])", " + "),
    (r"(?<=[\w)\]]) \* (?=[\w(-])", " + "),
    (r"(?<=[=(?:] )-(?=[\w(])", ""),
    (r"(?<=[(,] )-(?=[\w(])", ""),
    (r"(?<= )< ", "<= "),
    (r"(?<= )<= ", "< "),
    (r"(?<= )> ", ">= "),
    (r"(?<= )>= ", "> "),
    (r"(?<= )< ", "> "),
    (r"(?<= )<= ", "> "),
    (r"(?<= )> ", "<= "),
    (r"(?<= )== ", "!= "),
    (r"(?<= )!= ", "== "),
    (r"(?<= )\+= ", "-= "),
    (r"(?<= )>> ", "<< "),
)
TERNARY = re.compile(r" \? ([^?:;]+) : ([^?:;]+)([;,])")
NUMBER = re.compile(r"(?<![\w.])(0x1?[\da-f.]*p-?\d+|\d+\.\d+(?:e-?\d+)?)(f?)(?![\w.])")


class Job(ctypes.Structure):
    """LabelJob of native/job.hpp."""

    _fields_ = (
        *(("logits", ctypes.c_void_p), ("classes", ctypes.c_int64), ("logits_step", ctypes.c_int64)),
        *(("grad_step", ctypes.c_int64), ("label", ctypes.c_void_p), ("row_weight", ctypes.c_void_p)),
        *(
            ("scale", ctypes.c_double),
            ("z_loss", ctypes.c_double),
            ("loss", ctypes.c_void_p),
            ("grad", ctypes.c_void_p),
        ),
    )


@dataclass(frozen=True)
class Mutant:
    line: int
    before: str
    after: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield each line of code with one thing changed."""
    for number, line in enumerate(source.splitlines(), 1):
        code = line.partition("//")[0]
        if code.lstrip().startswith(("#", "template", "static_assert", "using", "struct")):
            continue
        changed = []
        for pattern, by in SWAPS:
            changed += [code[: at.start()] + by + code[at.end() :] for at in re.finditer(pattern, code)]
        for at in TERNARY.finditer(code):
            changed.append(f"{code[: at.start()]} ? {at[2]} : {at[1]}{at[3]}{code[at.end() :]}")
        for at in NUMBER.finditer(code):
            for by in (f"({at[0]} * 1.001{at[2]})", f"0.0{at[2]}"):
                changed.append(code[: at.start()] + by + code[at.end() :])
        yield from (Mutant(number, code.strip(), after.strip()) for after in dict.fromkeys(changed) if after != code)


def compile_library(folder: Path, march: str) -> Path | None:
    """Compile the kernels in the folder; None where they are not C++ any more."""
    source, target = folder / "harness.cpp", folder / "kernels.so"
    source.write_text(HARNESS)
    target.unlink(missing_ok=True)
    flags = ["-std=c++20", "-O1", f"-march={march}", "-fopenmp-simd", "-ffp-contract=fast", "-fno-math-errno"]
    command = ["g++", *flags, "-fno-trapping-math", "-w", "-shared", "-fPIC", f"-I{folder}", source, "-o", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    return target if done.returncode == 0 else None


class Judge:
    """Rows of every family and their exact values, worked out once."""

    def __init__(self) -> None:
        self.rows = []
        for dtype in (FLOAT32, FLOAT64):
            for classes, n in CLASSES.items():
                for family in families(dtype, n, classes, np.random.default_rng(classes)):
                    weight = np.random.default_rng(n).random(n) + 0.5
                    exact = exact_labels(family.logits, family.label)
                    z = family.logits.astype(np.float64)
                    with np.errstate(all="ignore"):
                        other = reference.cross_entropy_and_grad(
                            z, family.label, z_loss=0.01, sample_weight=weight, reduction="none"
                        )
                    self.rows.append((dtype, family, exact, weight, other))

    def results(self, library: Path) -> Iterator[tuple[Any, ...]]:
        loaded = ctypes.CDLL(str(library))
        for dtype, family, exact, weight, other in self.rows:
            kernel = loaded.label32 if dtype == FLOAT32 else loaded.label64
            kernel.restype = ctypes.c_double
            kernel.argtypes = (ctypes.POINTER(Job), ctypes.c_int64, ctypes.c_void_p)
            plain = self.call(kernel, family, None, 0.0)
            weighted = self.call(kernel, family, weight, 0.01)
            yield dtype, family, exact, other, plain, weighted

    @staticmethod
    def call(kernel: Any, family: Any, weight: Any, z_loss: float) -> tuple[Any, Any, float]:
        z = np.ascontiguousarray(family.logits)
        n, classes = z.shape
        loss, grad, scratch = np.empty(n, z.dtype), np.empty_like(z), np.empty(max(classes, 2048), z.dtype)
        at = None if weight is None else weight.ctypes.data
        job = Job(
            *(z.ctypes.data, classes, classes, classes, family.label.ctypes.data, at),
            *(1.0, z_loss, loss.ctypes.data, grad.ctypes.data),
        )
        return loss, grad, kernel(ctypes.byref(job), n, scratch.ctypes.data)

    def verdict(self, library: Path, expected: bytes) -> tuple[str, bytes]:
        """Return "killed" or what kind of survivor, and a digest of all results."""
        digest = hashlib.sha256()
        for dtype, family, exact, other, (loss, grad, total), weighted in self.results(library):
            if PROMISES[dtype].broken(measure(loss, grad, family.label, exact)):
                return "killed", b""
            float_ = np.finfo(dtype)
            if not close(np.asarray(total), loss.astype(np.float64).sum(), 4 * float_.eps, len(loss) * float_.tiny):
                return "killed", b""
            for got, wanted in zip(weighted, (*other, np.sum(other.loss)), strict=True):
                scale = float(np.abs(other.grad).max())
                if not close(np.asarray(got, np.float64), np.asarray(wanted, np.float64), 32 * float_.eps, scale):
                    return "killed", b""
            for array in (loss, grad, *weighted[:2]):
                digest.update(array.tobytes())
        return ("same bits" if digest.digest() == expected else "other bits"), digest.digest()


def close(a: Any, b: Any, tolerance: float, scale: float = 0.0) -> bool:
    with np.errstate(invalid="ignore"):
        equal = (a == b) | (np.isnan(a) & np.isnan(b))
        return bool(np.all(equal | (np.abs(a - b) <= tolerance * np.maximum(np.maximum(np.abs(a), np.abs(b)), scale))))


def in_a_child(judge: Judge, library: Path, expected: bytes) -> tuple[str, bytes]:
    """Judge in a forked process: a mutant may crash or never return, and a path is loaded only once in a process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        verdict, digest = judge.verdict(library, expected)
        os.write(writing, verdict.encode() + b":" + digest)
        os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + SECONDS
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            break
        time.sleep(0.005)
    with os.fdopen(reading, "rb") as answer:
        verdict, _, digest = (answer.read() or b"killed:").partition(b":")
    return verdict.decode(), digest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", choices=sorted(path.name for path in KERNELS.glob("*.hpp")))
    parser.add_argument("--lines", default="1-100000", help="only these lines of each file, as 40-60")
    parser.add_argument("--level", default="x86-64", help="the compiler's -march")
    options = parser.parse_args()
    first, last = map(int, options.lines.split("-"))
    judge = Judge()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(ROOT / "native", folder, dirs_exist_ok=True)
        library = compile_library(folder, options.level)
        assert library is not None, "the unchanged kernels do not compile"
        verdict, expected = in_a_child(judge, library, b"")
        assert verdict != "killed", "the unchanged kernels break their promise"
        for name in options.files:
            original = (KERNELS / name).read_text()
            counts: dict[str, int] = {}
            for mutant in mutants(original):
                if not first <= mutant.line <= last:
                    continue
                lines = original.splitlines()
                lines[mutant.line - 1] = mutant.after
                (folder / "kernels" / name).write_text("\n".join(lines) + "\n")
                library = compile_library(folder, options.level)
                verdict = "no C++" if library is None else in_a_child(judge, library, expected)[0]
                counts[verdict] = counts.get(verdict, 0) + 1
                if verdict.endswith("bits"):
                    print(f"{name}:{mutant.line}: {verdict}\n    {mutant.before}\n    {mutant.after}", flush=True)
            (folder / "kernels" / name).write_text(original)
            print(name, ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
