"""The page's arithmetic beside Python's, on random predictions with the boundary, soft truths and every rule."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from crossent import differential
from crossent.explanation import explain
from crossent.stories import STORIES

N_POINTS = 1000
TOLERANCE = 1e-12


def random_cases(seed=20):
    """Predictions of 2 to 7 classes, inside, confident to 1e-300, on edges and corners; labels and masses."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(N_POINTS):
        n = int(rng.integers(2, 8))
        q = rng.dirichlet(np.full(n, float(rng.choice([0.2, 1.0, 5.0]))))
        if i % 4 == 1:  # the boundary
            q[rng.permutation(n)[: rng.integers(1, n)]] = 0.0
            q = q / q.sum() if q.sum() > 0 else np.eye(n)[rng.integers(n)]
        elif i % 4 == 2:  # confident
            q = np.full(n, 10.0 ** -rng.uniform(1, 300))
            q[rng.integers(n)] = 1.0
            q /= math.fsum(q)
        kind = i % 3
        if kind == 0:
            p = np.eye(n)[rng.integers(n)]
        elif kind == 1:
            p = rng.dirichlet(np.ones(n))
            p[rng.permutation(n)[: rng.integers(0, n)]] = 0.0
        else:
            p = rng.dirichlet(np.ones(n)) * rng.uniform(0.1, 3)
        if i % 50 == 7:
            p = q / q.sum()  # the optimum
        w = rng.dirichlet(np.ones(n))
        w /= math.fsum(w)
        pays = [int(rng.integers(n)), [float(x) for x in w]] if abs(math.fsum(w) - 1) < 1e-12 else [0]
        cases.append({"q": q.tolist(), "p": p.tolist(), "pays": pays})
    return cases


CASES = random_cases()

IN_PAGE = """async (cases) => {
  const { explanation } = await import("crossent/explanation.js");
  const spelled = (x) => x === Infinity ? "inf" : x === -Infinity ? "-inf" : x;
  return cases.map(({ q, p, pays }) => {
    const payers = Object.fromEntries(pays.map((pay, i) => [`payer ${i}`, pay]));
    const found = explanation(q, p, q.map((_, c) => String(c)), payers);
    return JSON.parse(JSON.stringify(found, (key, x) => {
      if (typeof x === "number" && Number.isNaN(x)) return "nan";
      return spelled(x);
    }));
  });
}"""


def python_says(case):
    d = differential(case["q"], case["p"])
    rules = {rule: rule for rule in ("nobody", "everyone", "in proportion")}
    rules |= {f"payer {i}": pay for i, pay in enumerate(case["pays"])}
    grads = {name: d.grad(pay) for name, pay in rules.items()}
    certificates = {name: d.same_as(values) for name, values in grads.items()}
    return {
        "truth": d.truth,
        "prediction": d.probs,
        "loss": d.loss,
        "derivatives": grads,
        "multiples": {name: d.multiple(pay) for name, pay in rules.items()},
        "certificates": certificates,
        "velocities": d.velocities,
        "logit_gradient": d.logits,
        "natural_gradient": d.natural,
    }


def numbers(value):
    return np.array([float(x) for x in np.atleast_1d(np.asarray(value, dtype=object))])


def assert_close(theirs, ours, where, scale=None):
    theirs, ours = numbers(theirs), numbers(ours)
    finite = np.isfinite(ours)
    assert (theirs[~finite] == ours[~finite]).all(), where
    allowed = TOLERANCE * np.maximum(np.abs(ours[finite]), 1e-300 if scale is None else scale)
    assert (np.abs(theirs[finite] - ours[finite]) <= allowed).all(), (where, theirs, ours)


@pytest.fixture(scope="module")
def found(browser, exported):
    page = browser.new_page()
    page.goto(exported.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    yield page.evaluate(IN_PAGE, CASES)
    page.close()


def test_a_thousand_random_points_agree_with_python(found):
    assert len(found) == N_POINTS
    for i, (case, page) in enumerate(zip(CASES, found, strict=True)):
        python = python_says(case)
        largest = np.abs(np.r_[python["derivatives"]["nobody"], python["derivatives"]["in proportion"]])
        size = float(np.max(largest[np.isfinite(largest)], initial=0.0))
        for key in ("truth", "prediction", "loss"):
            assert_close(page[key], python[key], (i, key))
        # P·q − p is as exact as P·q and p are: relative to itself where it is a confident prediction's.
        assert_close(page["logit_gradient"], python["logit_gradient"], (i, "logits"))
        assert page["natural_gradient"] == page["logit_gradient"]
        for rule, values in python["derivatives"].items():
            assert_close(page["derivatives"][rule], values, (i, rule, case), scale=size)
            assert_close(page["multiples"][rule], python["multiples"][rule], (i, "λ", rule), scale=size)
            theirs, ours = page["certificates"][rule], python["certificates"][rule]
            assert theirs["same"] == ours.same, (i, rule)
            assert_close(theirs["multiple"], ours.multiple, (i, "multiple", rule), scale=size)
            assert_close(theirs["deviation"], ours.deviation, (i, "deviation", rule), scale=size)
        for metric, values in python["velocities"].items():
            assert_close(page["velocities"][metric], values, (i, metric), scale=size if metric == "euclidean" else 1.0)


def test_confident_predictions_are_relatively_exact(found):
    confident = [i for i in range(N_POINTS) if i % 4 == 2]
    assert len(confident) == N_POINTS // 4
    losses = [found[i]["loss"] for i in confident if math.isfinite(float(found[i]["loss"]))]
    assert min(loss for loss in losses if loss > 0) < 1e-200


def test_paths_agree_with_python(browser, exported):
    cases = [case for case in CASES if len(case["q"]) == 3][:60]
    page = browser.new_page()
    page.goto(exported.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    metrics = ["euclidean", "natural", "logit", "exponentiated", 0, 1, 2]
    script = """async ([cases, metrics]) => {
      const { descents } = await import("crossent/explanation.js");
      const spelled = (key, x) => (x === Infinity ? "inf" : x);
      return cases.map(({ q, p }) => JSON.parse(JSON.stringify(descents(q, p, metrics, 20, 0.05), spelled)));
    }"""
    for case, paths in zip(cases, page.evaluate(script, [cases, metrics]), strict=True):
        d = differential(case["q"], case["p"])
        for metric in metrics:
            ours = d.flow(metric, 20, 0.05)
            theirs = paths[str(metric)]
            np.testing.assert_allclose(np.array(theirs["probs"]), ours.probs, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(numbers(theirs["losses"]), ours.losses, rtol=1e-7, atol=1e-9)
    page.close()


def test_float32_is_what_numpy_returns(browser, exported):
    rows = STORIES["margin"].tables[0].rows
    page = browser.new_page()
    page.goto(exported.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    script = """async (margins) => {
      const { exact, textbook32 } = await import("crossent/precision.js");
      return margins.map((m) => [exact(m).loss, textbook32(m).loss, exact(m).slope, textbook32(m).slope]);
    }"""
    found = page.evaluate(script, [row[0] for row in rows])
    for row, (loss, loss32, slope, slope32) in zip(rows, found, strict=True):
        assert loss == pytest.approx(row[1], rel=TOLERANCE)
        assert slope == pytest.approx(row[5], rel=TOLERANCE)
        # Two libraries' exp and log may differ by an ulp of their result, which is near 1 before it is subtracted.
        assert loss32 == pytest.approx(row[2], abs=2.0**-23)
        assert slope32 == pytest.approx(row[6], abs=2.0**-23)
        if row[2] == 0:
            assert loss32 == 0
    page.close()


@pytest.mark.parametrize("name", STORIES)
def test_the_stories_in_the_page_are_pythons(exported, name):
    text = exported.read_text(encoding="utf-8")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    told = next(story for story in data["stories"] if story["name"] == name)
    for shown in told["predictions"]:
        shown.pop("quiz")
    assert told == json.loads(STORIES[name].to_json())


def test_explain_is_what_the_server_answers(address):
    import httpx

    asked = {
        "probs": json.dumps({"dog": 0.5, "cat": 0.49, "bird": 0.01}),
        "target": '"dog"',
        "pay": '["dog", {"cat": 0.5, "bird": 0.5}]',
    }
    answer = httpx.get(f"{address}/api/explain", params=asked)
    assert answer.status_code == 200
    ours = explain({"dog": 0.5, "cat": 0.49, "bird": 0.01}, target="dog", pay=["dog", {"cat": 0.5, "bird": 0.5}])
    assert answer.text == ours.to_json() + "\n"
