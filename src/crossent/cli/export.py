"""``crossent export``: a trained model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossent.cli import console


def command(
    model: Annotated[Path, typer.Argument(help="Directory written by crossent train.")],
    onnx: Annotated[Path, typer.Option(metavar="FILE", help="Write an ONNX model to this file.")],
) -> None:
    """Export a trained model, its preprocessing included, to ONNX.

    Its inputs are the columns of the table, or the pixels; its outputs the label and the probability of each class.

    Examples:

        crossent export model --onnx model.onnx
    """
    from crossent.data import load_trained
    from crossent.data.onnx_pipeline import export_onnx

    trained = load_trained(model)
    export_onnx(trained, onnx)
    n_inputs = 1 if not hasattr(trained.encoder, "columns") else len(trained.encoder.columns)
    console.print_rows(
        [
            ("model", str(onnx)),
            ("inputs", f"{n_inputs}, in the metadata as 'inputs'"),
            ("outputs", f"label, probabilities of {len(trained.classes)} classes"),
        ]
    )
