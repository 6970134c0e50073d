"""``crossent info``: what is installed and what this machine runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crossent.cli import console

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "polars", "matplotlib", "safetensors", "torch", "onnxruntime")


def command(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Print versions, CPU level, threads, BLAS, and the data sets that are there.

    Examples:

        crossent info

        crossent info --json
    """
    facts = collect()
    if json:
        import json as json_format

        typer.echo(json_format.dumps(facts, indent=2))
        return
    blas = "; ".join(f"{lib['api']} {lib['version']}, {lib['threads']} threads" for lib in facts["blas"])
    rows = [
        ("crossent", facts["crossent"]),
        ("Python", facts["python"]),
        *((name, version or "not installed") for name, version in facts["libraries"].items()),
        ("CPU level", f"{facts['cpu_level']} (of {', '.join(facts['cpu_levels'])})"),
        ("threads", f"{facts['threads']} of {facts['cpus']} CPUs"),
        ("BLAS", blas or "unknown"),
        *((f"data set {name}", where) for name, where in facts["data_sets"].items()),
    ]
    console.print_rows([(name, str(value)) for name, value in rows])


def collect() -> dict[str, Any]:
    """Return the facts as JSON's types."""
    import os
    import platform

    from threadpoolctl import threadpool_info

    import crossent

    pools = threadpool_info()
    return {
        "crossent": _version("crossent"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "cpu_level": crossent.cpu_level(),
        "cpu_levels": list(crossent.cpu_levels()),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or len(os.sched_getaffinity(0))),
        "cpus": os.cpu_count(),
        "blas": [
            {"api": pool["internal_api"], "version": pool["version"], "threads": pool["num_threads"]}
            for pool in pools
            if pool["user_api"] == "blas"
        ],
        "data_sets": _data_sets(),
    }


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _data_sets() -> dict[str, str]:
    from crossent.data.builtin import fashion_folder
    from crossent.errors import DataError

    try:
        fashion = str(fashion_folder())
    except DataError:
        fashion = "absent (Debian package dataset-fashion-mnist)"
    return {"digits": "comes with scikit-learn", "fashion-mnist": fashion}
