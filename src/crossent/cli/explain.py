"""``crossent explain``: the loss of one prediction and its derivative, by who pays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossent.cli.class_numbers import FORM

# Written out: the losses themselves would take as long to load as the rest of the command line.
LOSSES = (
    "cross-entropy, brier, spherical, focal, generalized-cross-entropy, poly1, symmetric-cross-entropy, reverse-kl, "
    "jensen-shannon, ranked-probability-score"
)


def command(
    probs: Annotated[str | None, typer.Option(help=f"The prediction as probabilities: {FORM}")] = None,
    logits: Annotated[str | None, typer.Option(help="The prediction as logits, written likewise.")] = None,
    label: Annotated[str | None, typer.Option(help="The true class.")] = None,
    truth: Annotated[str | None, typer.Option(help="A true distribution instead; classes left out have none.")] = None,
    pay: Annotated[
        list[str] | None,
        typer.Option(
            help="Who pays, beside nobody, everyone and in proportion: a class, or shares that sum to 1, as in "
            "cat=0.5,bird=0.5. May be repeated."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Another prediction (probabilities) of the same classes to compare with."),
    ] = None,
    loss: Annotated[
        str, typer.Option(help=f"The loss: {LOSSES}; parameters follow a colon, focal:gamma=3.")
    ] = "cross-entropy",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Show the steepest descent in a metric, and where a step leads: euclidean, natural or logit. May be "
            "repeated."
        ),
    ] = None,
    step: Annotated[float, typer.Option(help="How large a step --metric takes, and --against in logits.")] = 1.0,
    normalize: Annotated[bool, typer.Option("--normalize", help="Divide probabilities by their sum.")] = False,
    fractions: Annotated[
        bool, typer.Option("--fractions", help="Reckon exactly, in fractions: 1/2 and 0.49 are read as they stand.")
    ] = False,
    story: Annotated[
        str | None,
        typer.Option(help="Tell a story and its numbers instead: dog, deck, vanishing, soft, optimum, margin or list."),
    ] = None,
    quiz: Annotated[bool, typer.Option("--quiz", help="Ask first, then show the answers, and a score.")] = False,
    model: Annotated[Path | None, typer.Option(help="A trained model's directory, with --data and --row.")] = None,
    data: Annotated[str | None, typer.Option(help="The file the row is in, or digits or fashion-mnist.")] = None,
    row: Annotated[int | None, typer.Option(help="The row, counted from 1, the header not included.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where a built-in set's files are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print JSON; infinities are "inf", "-inf".')] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print the derivation for LaTeX (amsmath).")] = False,
) -> None:
    """Explain one prediction: its loss, and the derivative for each rule of who pays.

    Examples:

        crossent explain --probs dog=0.5,cat=0.49,bird=0.01 --label dog --pay cat=0.5,bird=0.5

        crossent explain --probs dog=1/2,cat=1/3,bird=1/6 --label dog --fractions --metric natural

        crossent explain --story dog

        crossent explain --story deck --quiz
    """
    from crossent.cli.explaining import Asked, explain_and_tell

    asked = Asked(
        probs,
        logits,
        label,
        truth,
        pay or [],
        against,
        loss,
        metric or [],
        step,
        normalize,
        fractions,
        model,
        data,
        row,
        data_dir,
    )
    explain_and_tell(asked, story, quiz=quiz, as_json=as_json, as_latex=as_latex)
