"""One explanation, many views: the same numbers in each."""

from __future__ import annotations

import html.parser
import io
import json
import math
import re
import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from crossent.explanation.comparison import compare
from crossent.explanation.latex import latex_text
from crossent.explanation.prediction import Explanation, explain
from crossent.explanation.words import probability
from crossent.family import Brier

DOG = {"dog": 0.5, "cat": 0.49, "bird": 0.01}
KEYS = [
    "classes",
    "truth",
    "prediction",
    "loss",
    "derivatives",
    "multiples",
    "certificates",
    "velocities",
    "logit_gradient",
    "natural_gradient",
    "descents",
]

HALF = {"dog": Fraction(1, 2), "cat": Fraction(49, 100), "bird": Fraction(1, 100)}
ALL = ("euclidean", "natural", "logit")

CASES = {
    "label": explain(DOG, target="dog"),
    "payers": explain(DOG, target="dog", pay=["cat", "everyone", "dog", "cat"]),
    "soft": explain(DOG, target={"dog": 0.8, "cat": 0.2}, pay="bird"),
    "mass": explain(DOG, target=[2.0, 1.0, 0.0]),
    "weights": explain(DOG, target="dog", pay=[{"cat": 0.5, "bird": 0.5}, [0.6, 0.2, 0.2], "cat"]),
    "no truth": explain(DOG, target=[0.0, 0.0, 0.0]),
    "boundary": explain([0.0, 0.5, 0.5], target=0),
    "confident": explain(logits={"dog": 46.0, "cat": 0.0}, target="dog"),
    "beyond": explain(logits=[0.0, -800.0, -np.inf], target=1),
    "certain": explain([1.0, 0.0], target=0),
    "names": explain([0.4, 0.3, 0.2, 0.1], target=0, classes=["a, b=c", "50% {x}_\\^~", "[red]犬[/]", "é♥<b>&\n"]),
    "deck": explain(np.full(53, 1 / 53), target=3, pay=[3, 52]),
    "metrics": explain(DOG, target={"dog": 0.8, "cat": 0.2}, metric=ALL, step=0.5),
    "metrics at the boundary": explain([0.0, 0.5, 0.5], target=0, metric=ALL),
    "fractions": explain(HALF, target="dog", metric=ALL, pay=[{"cat": Fraction(1, 3), "bird": Fraction(2, 3)}, "dog"]),
    "fractions at the boundary": explain([Fraction(0), Fraction(1, 2), Fraction(1, 2)], target=0, metric=ALL),
    "Brier": explain(DOG, target="dog", loss=Brier(), pay=["dog", {"cat": 0.5, "bird": 0.5}], metric=ALL),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def number(value: object) -> float | Fraction:
    """Read one of JSON's numbers back, infinities and fractions included."""
    return Fraction(value) if isinstance(value, str) and "inf" not in value else float(value)


def numbers(value: object) -> list[float | Fraction]:
    return [number(item) for item in value]


@every_case
def test_json_has_the_keys_and_full_precision(case: Explanation):
    read = json.loads(case.to_json(), parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    assert [key for key in read if key != "loss_in_symbols"] == KEYS
    d, n = case.differential, len(read["classes"])
    assert read["classes"] == list(d.classes)
    assert float(read["loss"]) == d.loss
    assert ("loss_in_symbols" in read) == d.exact
    named = {
        "truth": d.truth,
        "prediction": d.probs,
        "logit_gradient": d.logits,
        "natural_gradient": d.natural,
    }
    for key, values in named.items():
        assert numbers(read[key]) == values.tolist()
    assert list(read["derivatives"])[:3] == ["nobody", "everyone", "in proportion"]
    assert list(read["multiples"]) == list(read["certificates"]) == list(read["derivatives"])
    for rule, one in read["certificates"].items():
        assert one["same"] is True
        assert float(number(one["multiple"])) == pytest.approx(float(number(read["multiples"][rule])), rel=1e-12)
        size = max(abs(x) for x in numbers(read["derivatives"][rule]))
        assert number(one["deviation"]) <= (0 if d.exact else 1e-12 * max(1, size))
    assert list(read["velocities"]) == ["euclidean", "natural", "logit"]
    for metric, values in read["velocities"].items():
        assert numbers(values) == d.velocity(metric).tolist()
    assert list(read["descents"]) == list(case.metrics)
    for metric, one in read["descents"].items():
        assert one["type"] == "vector"
        assert one["velocity"] == read["velocities"][metric]
        assert sum(map(float, numbers(one["prediction"]))) == pytest.approx(1)
    for rule, values in read["derivatives"].items():
        assert len(values) == n
        assert number(read["multiples"][rule]) == d.multiple(case.payments[rule])
        assert numbers(values) == d.grad(case.payments[rule]).tolist()
        if rule in d.classes:
            assert number(values[d.classes.index(rule)]) == 0


def test_infinities_in_json_are_strings_that_float_reads():
    read = json.loads(CASES["boundary"].to_json())
    assert read["loss"] == "inf"
    assert read["derivatives"]["nobody"] == ["-inf", 0.0, 0.0]
    assert read["logit_gradient"] == [-1.0, 0.5, 0.5]


def test_the_true_class_pays_where_no_class_was_asked_for():
    assert list(CASES["label"].derivatives) == ["nobody", "everyone", "in proportion", "dog"]
    assert list(CASES["soft"].derivatives)[3:] == ["bird"]
    assert list(CASES["payers"].derivatives)[3:] == ["cat", "dog"]
    assert list(CASES["mass"].derivatives)[3:] == ["dog"]
    assert list(explain(DOG, target={"cat": 0.7, "bird": 0.3}).derivatives)[3:] == ["cat"]
    assert list(CASES["no truth"].derivatives)[3:] == []


@every_case
@pytest.mark.parametrize("width", [60, 80, 160])
def test_text_fits_its_width_and_has_a_row_per_class(case: Explanation, width: int):
    text = case.to_text(width)
    lines = text.splitlines()
    assert max(Console().measure(line).maximum for line in lines if line) <= width
    assert "…" not in text.replace("(1,…,1)", "")
    assert "nan" not in text
    assert "\x1b" not in text
    flat = text.replace("\n", " ")
    for what in ("nobody", "covector", "vector on the", "(1,…,1)"):
        assert what in flat
    for name in ("0", "52") if len(case.differential.classes) == 53 else ():
        assert sum(line.split()[:1] == [name] for line in lines) >= 1


def test_one_step_leads_where_the_metric_says():
    found = explain(DOG, target="dog", metric=ALL, step=0.5).descents
    q, p = np.array([0.5, 0.49, 0.01]), np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(found["natural"].probs, q + 0.5 * (p - q), rtol=1e-15)
    raised = q * np.exp(-0.5 * (q - p))
    np.testing.assert_allclose(found["logit"].probs, raised / raised.sum(), rtol=1e-14)
    np.testing.assert_allclose(found["euclidean"].velocity, [4 / 3, -2 / 3, -2 / 3], rtol=1e-15)
    jacobian = np.diag(q) - np.outer(q, q)
    np.testing.assert_allclose(found["logit"].velocity, -jacobian @ (q - p), rtol=1e-12)
    for one in found.values():
        assert one.loss == pytest.approx(-math.log(one.probs[0]))
        assert sum(one.velocity) == pytest.approx(0, abs=1e-15)


def test_views_name_covector_and_vector_and_where_a_step_leads():
    case = CASES["metrics"]
    text = " ".join(case.to_text(120).split())
    for part in ("is a covector", "turns it into a vector", "velocity", "after", "Fisher–Rao"):
        assert part in text
    for metric, one in case.descents.items():
        assert f"{metric}: " in text
        assert f"to {one.loss:.4f} nats." in text
    page, tex = case._repr_html_(), case.to_latex()
    assert page.count("velocity<br>(vector)") == 3
    assert tex.count(r"\textbf{Steepest descent}") == 3
    assert r"\dot q_{\text{dog}} &= 0.3" in tex


def test_fractions_stay_fractions_in_every_view():
    case = CASES["fractions"]
    text, tex = " ".join(case.to_text(120).split()), case.to_latex()
    for part in ("loss log 2 = 0.6931 nats", "49/100", "-4/3", "2451/10000", "1/3 cat + 2/3 bird pay 0"):
        assert part in text
    assert r"-1\big/\tfrac{1}{2} = -2" in tex
    assert r"\tfrac{49}{100}" in tex
    read = json.loads(case.to_json())
    assert read["loss_in_symbols"] == "log 2"
    assert read["prediction"] == ["1/2", "49/100", "1/100"]
    assert read["descents"]["natural"]["prediction"] == ["1", "0", "0"]
    assert read["derivatives"]["everyone"] == ["-4/3", "2/3", "2/3"]


def test_another_loss_is_explained_by_its_own_entries():
    text = " ".join(CASES["Brier"].to_text(120).split())
    assert "Brier loss 0.4902 · truth dog" in text
    assert "nats" not in text
    assert "the derivative is -1 for dog and 0.98 for cat" in text
    assert "0.98 − (-1) = 1.98 by the first and 1.98 − 0 = 1.98 by the second" in text
    assert "everyone pays 0 · in proportion 0.0196 · dog pays 1" in text
    assert "p/q" not in text
    tex = CASES["Brier"].to_latex()
    assert r"a_{\text{cat}} - a_{\text{dog}} &= 0.98 - (-1) = 1.98" in tex
    assert r"\partial H" not in tex


def test_shares_are_a_column_named_by_them():
    half = explain(DOG, target="dog", pay={"cat": 0.5, "bird": 0.5})
    assert half.rules[3:] == ("0.5 cat + 0.5 bird",)
    assert half.derivatives["0.5 cat + 0.5 bird"].tolist() == [-2, 0, 0], "payers without truth pay nothing"
    several = explain(DOG, target="dog", pay=[[0.25, 0.25, 0.5], "cat", {"bird": 1.0}, [0.25, 0.25, 0.5]])
    assert several.rules[3:] == ("0.25 dog + 0.25 cat + 0.5 bird", "cat", "bird")
    assert several.multiples["0.25 dog + 0.25 cat + 0.5 bird"] == 0.5
    near = explain(DOG, target="dog", pay=[{"cat": 0.5, "bird": 0.5}, {"cat": 0.5 - 1e-9, "bird": 0.5 + 1e-9}])
    assert near.rules[3:] == ("0.5 cat + 0.5 bird", "0.5 cat + 0.5 bird (2)")


@pytest.mark.parametrize(
    ("pay", "error", "message"),
    [
        ({"cow": 1.0}, ValueError, "pay = 'cow': expected one of 'dog', 'cat', 'bird'"),
        ({"cat": 0.5}, ValueError, "the sum of pay = 0.5: expected 1"),
        ([0.5, 0.6, 0.1], ValueError, "the sum of pay = 1.2"),
        ({"cat": math.nan}, ValueError, r"pay\['cat'\] = nan"),
        ([0.5, 0.5], ValueError, r"len\(pay\) = 2: expected 3"),
        (None, TypeError, "pay is a NoneType: expected a class, weights"),
        (0.5, TypeError, "pay is a float: expected a class, weights"),
    ],
)
def test_payers_that_make_no_sense_are_refused(pay, error, message):
    with pytest.raises(error, match=message):
        explain(DOG, target="dog", pay=pay)
    with pytest.raises(ValueError, match="not the name of a class"):
        explain([0.5, 0.25, 0.25], target=0, classes=["a", "b", "0.5 a + 0.5 b"], pay=[0.5, 0.5, 0.0])


def test_table_is_one_block_on_a_wide_terminal_and_two_at_80_columns():
    wide, narrow = CASES["label"].to_text(120), CASES["label"].to_text(80)
    assert sum(line.startswith("bird") for line in wide.splitlines()) == 1
    assert sum(line.startswith("bird") for line in narrow.splitlines()) == 2


def test_text_says_why_both_formulas_are_right_with_this_inputs_numbers():
    text = " ".join(CASES["label"].to_text().split())
    for part in (
        "loss 0.6931 nats",
        "−1/q_dog = -2 for dog and 0 for every other class",
        "+1/q_dog = 2 for every other class",
        "0 − (-2) = 2 by the first and 2 − 0 = 2 by the second",
        "covector q − p = (-0.5, 0.49, 0.01)",
        "everyone pays 0.6667 · in proportion 1 · dog pays 2",
    ):
        assert part in text


def test_paragraph_of_a_distribution_uses_its_shares():
    text = " ".join(CASES["soft"].to_text().split())
    assert "p_dog/q_dog = 1.6 is added to it, and dog's own entry is 0" in text
    assert "-0.4082 − (-1.6) = 1.192 by the first and 1.192 − 0 = 1.192 by the second" in text


def test_text_prints_no_false_zero_and_no_false_one():
    text = CASES["confident"].to_text()
    assert "1 - 1.05e-20" in text
    assert "loss 1.053e-20 nats" in text
    assert "-1.053e-20" in text
    d = CASES["beyond"].differential
    assert probability(d, 1) == "3.67e-348"
    assert probability(d, 2) == "0"
    assert "beyond float64's range" in CASES["beyond"].to_text(200)


def test_rescaled_probabilities_are_mentioned():
    text = explain({"a": 1.0, "b": 3.0}, target="a", normalize=True).to_text()
    assert "The probabilities given sum to 4 and were divided by it." in text
    assert "divided by it" not in CASES["label"].to_text()


@every_case
def test_str_is_the_plain_text_and_rich_prints_the_same_words(case: Explanation):
    console = Console(file=io.StringIO(), width=80, color_system="truecolor", force_terminal=True)
    with console.capture() as capture:
        console.print(case)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capture.get())
    assert plain.split() == case.to_text(80).split() == str(case).split()


class Balance(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.rows += tag == "tr"
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@every_case
def test_html_is_well_formed_with_every_name_escaped(case: Explanation):
    page, reader = case._repr_html_(), Balance()
    reader.feed(page)
    assert reader.open == []
    n_classes = len(case.differential.classes)
    assert reader.rows == 2 + n_classes + (1 + n_classes if case.metrics else 0)
    assert "<b>" not in page
    assert "nan" not in page


def balanced(text: str) -> bool:
    depth = 0
    for mark in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        assert depth >= 0
    begins, ends = re.findall(r"\\begin\{(\w+\*?)\}", text), re.findall(r"\\end\{(\w+\*?)\}", text)
    return depth == 0 and begins == ends and text.count(r"\[") == text.count(r"\]") + text.count(r"\\[")


@every_case
def test_latex_is_balanced_ascii_and_free_of_python_numbers(case: Explanation):
    text = case.to_latex()
    assert balanced(text)
    assert text.isascii()
    assert re.search(r"\d[eE][-+]?\d|(?<!\\)\binf\b|nan", text) is None


@given(st.text(max_size=20))
def test_latex_names_are_balanced_ascii(name: str):
    text = latex_text(name)
    assert text.isascii()
    assert balanced(text)


def test_latex_shows_each_step_with_numbers():
    text = CASES["label"].to_latex()
    for part in (
        r"\log 0.5",
        r"0.693147",
        r"a_{\text{dog}} &= -\frac{1}{0.5} = -2",
        r"a_{\text{cat}} - a_{\text{dog}} &= 0 + \frac{1}{0.5} = 2",
        r"\frac{\partial H}{\partial z_{\text{cat}}} &= 0.49 - 0 = 0.49",
    ):
        assert part in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_in_a_plain_document(tmp_path):
    body = "\n\\clearpage\n".join(case.to_latex() for case in CASES.values())
    accents = latex_text("àéîõüÿçåøæßłžő 犬 ≤ #$%&_{}~^\\|<>\"'")
    head = r"\documentclass{article}\usepackage{amsmath}\begin{document}"
    page = f"{head}\n{body}\n{accents}\n\\end{{document}}"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert run.returncode == 0, run.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000


@settings(max_examples=30)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12), st.data())
def test_any_logits_can_be_explained_in_every_view(logits, data):
    case = explain(logits=logits, target=data.draw(st.integers(0, len(logits) - 1)))
    for view in (case.to_text(), case.to_latex(), case._repr_html_(), case.to_json()):
        assert re.search(r"\bnan\b|NaN", view) is None
    assert not math.isnan(case.differential.loss)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probs": [0.5, 0.5], "logits": [0, 0], "target": 0}, "both given"),
        ({"target": 0}, "neither given"),
        ({"probs": {"a": 1.0, "b": 0.0}, "classes": ["a", "b"], "target": 0}, "classes is given twice"),
        ({"logits": [0, 0], "normalize": True, "target": 0}, "normalize divides probs"),
        ({"probs": [0.5, 0.5], "target": 0, "pay": [["a", "b"]]}, "pay cannot be read as one number per class"),
        ({"probs": [0.5, 0.5], "target": 0, "loss": 3}, "loss is a int: expected the name of a loss"),
        ({"probs": [0.5, 0.5], "target": 0, "metric": 3}, "metric is a int: expected a metric by name"),
        ({"probs": [0.5, 0.5], "target": 0, "step": "1"}, "step is a str: expected a positive, finite number"),
        ({"probs": [Fraction(1, 2)] * 2, "target": 0, "loss": "brier"}, "Brier is not computed in fractions"),
        ({"probs": "ab", "target": 0}, "probs cannot be read as one number per class"),
    ],
)
def test_wrong_calls_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        explain(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probs": [[0.5, 0.5]] * 2, "target": [0, 1]}, r"probs.shape = \(2, 2\): expected one prediction"),
        ({"logits": [[0.5, 0.5]] * 2, "target": [0, 1]}, r"logits.shape = \(2, 2\): expected one prediction"),
        ({"probs": [0.5, 0.5], "target": 0, "metric": "fisher"}, "metric = 'fisher': expected one of 'euclidean'"),
        ({"probs": [0.5, 0.5], "target": 0, "step": 0}, "step = 0: expected a positive, finite number"),
        ({"probs": [0.5, 0.5], "target": 0, "step": math.nan}, "step = nan"),
        ({"probs": [0.5, 0.5], "target": 0, "loss": "hinge"}, "loss = 'hinge': expected one of 'cross-entropy'"),
        ({"probs": [Fraction(1, 2), Fraction(1, 3)], "target": 0}, "the sum of probs = 5/6: expected exactly 1"),
        ({"probs": [0.5, 0.5], "classes": ["nobody", "b"], "target": 0}, "a name that is not a rule of payment"),
    ],
)
def test_wrong_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        explain(**options)


def test_ten_thousand_classes_are_shown_by_the_hundred_that_matter():
    q = np.random.default_rng(0).dirichlet(np.ones(10_000))
    least = int(np.argmin(q))
    case = explain(q, target=least, pay=[least, 5], metric="natural")
    text = case.to_text(120)
    assert text.count("… and 9900 more classes; the JSON has them all.") == 1
    rows = {line.split()[0] for line in text.splitlines() if re.match(r"\d+ ", line)}
    assert len(rows) == 100
    assert {str(least), "5", str(int(np.argmax(q)))} <= rows
    assert case._repr_html_().count("<tr>") == 2 + 100 + 1 + 100
    assert len(case.to_latex()) < 100_000
    assert len(json.loads(case.to_json())["prediction"]) == 10_000
    assert compare(case, case).to_text(120).count("… and 9900 more classes") == 1
