"""The page as a reader uses it, shown by the server and as one exported file."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from crossent.stories import STORIES

MINUS = "−"


@pytest.fixture(params=["served", "exported"])
def url(request):
    if request.param == "served":
        return request.getfixturevalue("address") + "/"
    return request.getfixturevalue("exported").as_uri()


def row(page, name):
    """The numbers of a table row, by its name."""
    found = page.locator("#table tbody tr").filter(has=page.locator("th", has_text=re.compile(f"^{re.escape(name)}")))
    return found.first.locator("td span[data-at]").all_text_contents()


def centre(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, selector, dx, dy):
    x, y = centre(page, selector)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


def prediction(page):
    return [float(x) for x in page.input_value("#q").split(",")]


def test_it_opens_with_the_dog(open_page, url):
    page = open_page(url)
    assert row(page, "prediction q") == ["0.5", "0.49", "0.01"]
    assert row(page, "nobody pays") == [f"{MINUS}2", "0", "0", "0", "✓"]
    assert row(page, "dog pays") == ["0", "2", "2", "2", "✓"]
    assert row(page, "everyone pays") == [f"{MINUS}1.333", "0.6667", "0.6667", "0.6667", "✓"]
    assert row(page, "logit gradient") == [f"{MINUS}0.5", "0.49", "0.01"]
    assert page.inner_text("#loss") == "H(p, q) = 0.6931 nats"


def test_dragging_the_prediction_changes_the_table_and_snaps(open_page, url):
    page = open_page(url)
    before = row(page, "logit gradient")
    drag(page, ".handle.q circle:not(.reach)", 90, 60)
    q = prediction(page)
    assert q != [0.5, 0.49, 0.01]
    assert sum(q) == pytest.approx(1, abs=1e-12)
    assert all(abs(100 * x - round(100 * x)) < 1e-9 for x in q)
    assert row(page, "logit gradient") != before
    assert float(row(page, "prediction q")[0]) == q[0]
    # Beyond an edge it stays on the edge.
    drag(page, ".handle.q circle:not(.reach)", 0, 600)
    assert prediction(page)[0] == 0
    assert row(page, "nobody pays")[0] == f"{MINUS}∞"
    assert row(page, "logit gradient")[0] == f"{MINUS}1"
    assert page.inner_text("#loss") == "H(p, q) = inf nats".replace("inf", "∞")


def test_dragging_the_truth_changes_the_table(open_page, url):
    page = open_page(url)
    drag(page, ".handle.p path", 10, 150)
    p = [float(x) for x in page.input_value("#p").split(",")]
    assert 0 < p[0] < 1
    assert float(row(page, "truth p")[0]) == p[0]


def test_the_keyboard_moves_both_points(open_page, url):
    page = open_page(url)
    page.focus(".handle.q")
    page.keyboard.press("ArrowRight")
    assert prediction(page) == [0.5, 0.48, 0.02]
    page.keyboard.press("ArrowUp")
    assert prediction(page) == [0.51, 0.475, 0.015]
    page.keyboard.press("Shift+ArrowLeft")
    assert prediction(page) == [0.51, 0.476, 0.014]
    page.keyboard.press("2")
    assert prediction(page) == [0, 1, 0]
    assert page.get_attribute(".handle.q", "aria-valuetext") == "dog 0 %, cat 100 %, bird 0 %"
    page.focus(".handle.p")
    page.keyboard.press("0")
    assert row(page, "truth p") == ["0.3333"] * 3
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Truth"


def test_everything_is_reached_by_the_tab_key(open_page, url):
    page = open_page(url)
    wanted = page.evaluate("document.querySelectorAll('button, input, select, summary, [tabindex=\"0\"]').length")
    seen = set()
    page.evaluate("window.marks = 0")
    for _ in range(2 * wanted):
        page.keyboard.press("Tab")
        name = page.evaluate("""() => {
          const e = document.activeElement;
          if (e === document.body) return null;
          return (e.dataset.mark ??= String(window.marks++));
        }""")
        if name is None or (name in seen and name == "0"):
            break
        seen.add(name)
    shown = page.evaluate("""[...document.querySelectorAll('a, button, input, select, summary, [tabindex="0"]')]
      .filter((e) => e.checkVisibility()).length""")
    assert len(seen) == shown


@pytest.mark.parametrize("name", STORIES)
def test_each_story_shows_its_numbers(open_page, url, name):
    page = open_page(url)
    story = STORIES[name]
    page.click(f"#stories button[data-value={name}]")
    assert page.inner_text(".question") == story.question
    told = page.inner_text(".facts").replace(MINUS, "-").replace("∞", "inf")
    for fact in story.facts:
        assert re.sub(r"\b([pq])_", r"\1", fact.text.replace(MINUS, "-")) in told
    first = next(iter(story.predictions.values())).differential
    assert page.inner_text("#loss").startswith(f"H(p, q) = {first.loss:.4f}" if first.loss > 0.1 else "H(p, q) = ")
    captions = page.locator("#story .choices button")
    assert captions.count() == len(story.predictions)
    captions.last.click()
    last = list(story.predictions.values())[-1].differential
    shown = row(page, "logit gradient")[0].replace(MINUS, "-")
    column = page.locator("#table thead th").first.inner_text()
    assert float(shown) == pytest.approx(float(last.logits[last.classes.index(column)]), rel=1e-3)
    assert f"story={name}" in page.evaluate("new Promise((r) => setTimeout(() => r(location.hash), 250))")


def test_the_deck_has_bars_that_the_keyboard_raises(open_page, url):
    page = open_page(url + "#story=deck")
    assert page.locator(".bar").count() == 53
    assert page.locator(".ternary").is_hidden()
    page.focus(".bar[data-class='52']")
    page.keyboard.press("ArrowUp")
    assert page.get_attribute(".bar[data-class='52']", "aria-valuenow") == "2.8868"
    assert page.evaluate("document.activeElement.dataset.class") == "52"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.class") == "51"
    assert "K♣" in page.inner_text("#table thead")
    drag(page, ".bar[data-class='38'] .q", 0, -120)
    assert float(page.get_attribute(".bar[data-class='38']", "aria-valuenow")) > 2


def test_who_pays_changes_the_derivative_and_the_measurement_agrees(open_page, url):
    page = open_page(url + "#q=0.5,0.3,0.2&p=0.2,0.3,0.5")
    payers = {"nobody": -1, "everyone": 0.3, "in proportion": 0, "0": -0.6, "2": 1.5}
    page.click("#who-pays [aria-label='The class that rises'] [data-value='1']")
    for payer, derivative in payers.items():
        page.click(f"#who-pays [aria-label='Who pays'] [data-value='{payer}']")
        shown, measured = page.locator("#who-pays dd b").all_text_contents()[:2]
        assert float(shown.replace(MINUS, "-")) == pytest.approx(derivative, abs=1e-6)
        assert float(measured.replace(MINUS, "-")) == pytest.approx(derivative, abs=1e-6)
    page.click("#who-pays [data-value='shares']")
    page.fill("#shares", "0.5, 0, 0.5")
    page.press("#shares", "Enter")
    assert page.locator("#who-pays dd b").first.inner_text() == "0.45"
    assert row(page, "the shares pay") == ["1.05", "0.45", f"{MINUS}1.05", "1.45", "✓"]
    page.fill("#shares", "0.5, 0, 0.4")
    page.press("#shares", "Enter")
    assert "sum to 0.9" in page.inner_text("#shares-problem")
    assert page.get_attribute("#shares", "aria-invalid") == "true"


def test_the_point_lifts_off_when_nobody_pays(open_page, url):
    page = open_page(url)
    assert page.locator(".off").count() == 0
    flat = page.locator(".ternary .ground").bounding_box()["height"]
    page.click("#who-pays [data-value='nobody']")
    assert page.text_content(".off") == "Σq = 1.2"
    assert page.locator(".ternary .ground").bounding_box()["height"] < 0.85 * flat


def test_motion_is_drawn_only_where_it_is_wanted(open_page, address):
    for reduced, at_once in (("reduce", True), ("no-preference", False)):
        page = open_page(address, reduced_motion=reduced)
        page.evaluate("""() => {
          const seen = new Set();
          const watch = () => {
            seen.add(document.querySelector('.ternary .ground').getAttribute('d'));
            requestAnimationFrame(watch);
          };
          watch();
          window.seen = seen;
        }""")
        page.click("#who-pays [data-value='nobody']")
        page.wait_for_timeout(500)
        assert (page.evaluate("window.seen.size") <= 2) == at_once


def test_a_number_tells_its_formula(open_page, url):
    page = open_page(url)
    page.hover("#table [data-at='2,0']")
    assert page.inner_text("#formula") == f"{MINUS}p/q of dog = {MINUS}1 / 0.5 = {MINUS}2"
    page.focus("#table [data-at='5,1']")
    assert page.inner_text("#formula") == f"a of cat {MINUS} a of dog = 0 {MINUS} ({MINUS}2) = 2, where a = {MINUS}p/q"
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#formula") == f"P·q {MINUS} p of cat = 0.49 {MINUS} 0 = 0.49, per unit of its logit"


def test_descents_differ_by_metric_and_by_chart(open_page, url):
    page = open_page(url + "#q=0.5,0.3,0.2&p=0.2,0.3,0.5")
    assert page.locator("#paths svg").first.locator(".path").count() == 4
    lines = [
        page.get_attribute(f"#paths .small .path.{one}", "d")
        for one in ("euclidean", "natural", "logit", "exponentiated")
    ]
    assert len(set(lines)) == 4
    page.click("#paths [data-value=charts]")
    charts = [page.get_attribute(f"#paths .small .path.chart{r}", "d") for r in range(3)]
    assert len(set(charts)) == 3
    page.locator("#step").fill("-1.6")
    assert page.get_attribute("#paths .small .path.chart0", "d") != charts[0]


def test_the_margin_slider_shows_what_float32_loses(open_page, url):
    page = open_page(f"{url}#story=margin&prediction=3")
    assert page.input_value("#margin") == "40"
    for margin, lost in (("10", False), ("17", True), ("40", True)):
        page.locator("#margin").fill(margin)
        cells = page.locator("#margins tbody td").all_text_contents()
        assert cells[0] not in ("0", "")
        assert (cells[2] == "0" and cells[3] == "0") == lost


def test_every_verdict_has_its_counter_example(open_page, url):
    page = open_page(url)
    assert page.locator("#verdict li").count() == 6
    assert page.locator("#verdict li .views button").count() >= 6
    page.click("#verdict >> text=truth everywhere: they differ")
    assert row(page, "dog pays")[3] == "0.4"
    page.click("#verdict >> text=no truth on cat: they agree")
    assert row(page, "cat pays") == row(page, "nobody pays")
    page.click("#verdict >> text=5♣ pays, 11♥ rises")
    assert page.locator("#who-pays dd b").first.inner_text() == "53"
    page.click("#verdict >> text=11♥ pays, 6♣ rises")
    assert page.locator("#who-pays dd b").first.inner_text() == "0"


def test_the_quiz_reveals_and_counts(open_page, url):
    page = open_page(url)
    asked = page.inner_text("#asked")
    page.click("#quiz .options button:has-text('2') >> nth=0")
    assert page.inner_text("#quiz .reveal").startswith(f"Not {MINUS}2: ")
    assert page.inner_text("#quiz .score") == "0 of 1 right"
    page.click("#quiz .next")
    assert page.inner_text("#asked") != asked
    page.click("#quiz .options button:text-is('2')")
    assert page.inner_text("#quiz .reveal").startswith("Right. ")
    assert page.inner_text("#quiz .score") == "1 of 2 right"


def test_an_address_brings_the_view_back(open_page, url):
    page = open_page(url)
    page.focus(".handle.q")
    page.keyboard.press("ArrowRight")
    page.click("#who-pays [data-value='everyone']")
    page.check("#arrows input[value=balls]")
    page.wait_for_timeout(300)
    shared = page.url
    other = open_page(shared)
    assert prediction(other) == [0.5, 0.48, 0.02]
    assert other.is_checked("#arrows input[value=balls]")
    assert other.locator(".ball").count() == 3
    assert other.get_attribute("#who-pays [data-value='everyone']", "aria-pressed") == "true"
    assert row(other, "everyone pays") == row(page, "everyone pays")


BAD_ADDRESSES = {
    "q=0.5,0.6,-0.1&p=dog": "The prediction of bird is -0.1: a probability is not negative.",
    "q=0.5,0.6,0.1&p=dog": "The prediction sums to 1.2: expected 1, within 1e-6.",
    "q=0.5,half,0.1&p=dog": "The prediction holds “half”: expected numbers such as 0.5 or 1/3, separated by commas.",
    "q=0.5,,0.5&p=dog": "The prediction holds “”: expected numbers",
    "q=0.5,NaN,0.5&p=dog": "The prediction holds “NaN”: expected numbers",
    "q=1/0,0,0&p=dog": "The prediction holds “1/0”: expected a finite number.",
    "q=0.5,0.3,0.2&p=wolf": "The truth has 1 numbers: expected 3, one per class.",
    "q=0.5,0.3,0.2&p=0.5,-0.5,1": "The truth of cat is -0.5: a mass is not negative.",
    "q=0.5,0.3,0.2": "The address has a prediction q and no truth p.",
    "q=1&p=1": "There is one class: expected at least 2.",
    "q=0.5,0.5&p=1,0&classes=a,a": "Two classes are called “a”.",
    "q=0.5,0.5&p=1,0&classes=a,everyone": "A class is called “everyone”: that is the name of a rule of payment.",
    "q=0.5,0.5&p=1,0&classes=a,b,c": "The prediction has 2 numbers: expected 3, one per class.",
    "q=0.5,0.3,0.2&p=dog&pay=wolf": "Who pays is “wolf”: expected dog, cat, bird.",
    "q=0.5,0.3,0.2&p=dog&pay=0.5,0.2,0.2": "The payers' shares sum to 0.9",
    "story=cat": "“story” is “cat”: expected dog, deck",
    "step=0": "“step” is 0: expected a number from 0.001 to 10.",
    "colour=red": "The address has “colour”: expected story,",
    "step=1&step=2": "The address gives “step” twice.",
    "q=%E0%A4%A&p=dog": "which is no text.",
    "q="
    + ",".join(["0.0001"] * 10_000)
    + "&p=0": "The prediction has 10000 numbers: this page draws at most 100 classes",
}


@pytest.mark.parametrize("address_part", BAD_ADDRESSES, ids=lambda text: text[:30])
def test_a_bad_address_says_what_is_wrong(open_page, exported, address_part):
    page = open_page(f"{exported.as_uri()}#{address_part}")
    assert BAD_ADDRESSES[address_part] in page.inner_text("#problem-text")
    assert row(page, "prediction q") == ["0.5", "0.49", "0.01"]
    page.click("#dismiss")
    assert page.locator("#problem").is_hidden()


def test_bad_input_in_a_field_says_what_is_wrong_and_changes_nothing(open_page, url):
    page = open_page(url)
    for field, text, said in (
        ("q", "0.5, 0.6, -0.1", "not negative"),
        ("q", "0.5, 0.6, 0.1", "sums to 1.2"),
        ("q", "a, b, c", "holds “a”"),
        ("q", "0.5, 0.5", "has 2 numbers: expected 3"),
        ("q", ",".join(["0.0001"] * 10_000), "10000 numbers"),
        ("p", "wolf", "has 1 numbers"),
        ("classes", "dog, dog, bird", "Two classes are called “dog”"),
    ):
        good = page.input_value(f"#{field}")
        page.fill(f"#{field}", text)
        page.press(f"#{field}", "Enter")
        assert said in page.inner_text("#input-problem")
        assert page.get_attribute(f"#{field}", "aria-invalid") == "true"
        assert row(page, "nobody pays")[0] == f"{MINUS}2"
        page.fill(f"#{field}", good)
        page.press(f"#{field}", "Enter")
        assert page.inner_text("#input-problem") == ""
    page.fill("#q", "1/3, 1/3, 1/3")
    page.press("#q", "Enter")
    assert row(page, "nobody pays")[0] == f"{MINUS}3"


def test_a_class_name_is_text(open_page, exported):
    page = open_page(
        f"{exported.as_uri()}#q=0.5,0.3,0.2&p=1,0,0&classes=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E,b%2Cc,d"
    )
    assert page.locator("img").count() == 0
    assert "<img src=x" in page.inner_text("#table thead")


@pytest.mark.parametrize("width", [360, 1280, 1440])
@pytest.mark.parametrize("part", ["", "#story=deck", "#story=margin", "#story=soft&prediction=2&show=euclidean,balls"])
def test_nothing_scrolls_sideways(open_page, exported, width, part):
    page = open_page(exported.as_uri() + part, width=width, height=800)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if width > 360:  # on a telephone long numbers may scroll within the table
        hidden = page.eval_on_selector("#table .scroll", "(e) => e.scrollWidth - e.clientWidth")
        assert hidden == 0
    smallest = """Math.min(...[...document.querySelectorAll("p, td, th, small, button, label, text")]
      .filter((e) => e.checkVisibility() && e.textContent).map((e) => parseFloat(getComputedStyle(e).fontSize)))"""
    assert page.evaluate(smallest) >= 11


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("part", ["#story=dog&show=euclidean,natural,logit,balls", "#story=deck", "#q=2,-1&p=1,0"])
def test_axe_finds_nothing_serious(open_page, address, scheme, width, part):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(f"{address}/{part}", scheme=scheme, width=width)
    page.click("#quiz .options button >> nth=0")
    found = [one for one in axe.run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found] == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")


def test_the_served_page_says_that_python_agrees(open_page, address):
    page = open_page(address)
    page.wait_for_selector("#python a")
    assert "crossent in Python gives the same numbers" in page.inner_text("#python")
    with page.expect_response("**/api/explain**") as answer:
        page.click("#stories button[data-value=vanishing]")
    assert answer.value.ok
    page.wait_for_function("document.querySelector('#python').textContent.includes('same numbers')")
    command = [sys.executable, "-m", "crossent", "explain", "--probs", "dog=0.5,cat=0.25,bird=0.25", "--label", "dog"]
    printed = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
    assert answer.value.text() == printed


@pytest.mark.parametrize(
    "part",
    [
        "q=1,0,0&p=dog",
        "q=0,0,1&p=dog&pay=nobody&show=euclidean,natural,logit,balls",
        "q=0,1,0&p=0.5,0,0.5&pay=everyone",
        "q=0.5,0.5,0&p=0,0,0",
        "q=0.2,0.3,0.5&p=2,1,3&pay=in%20proportion&paths=charts",
        "q=1e-300,0.5,0.5&p=dog&step=10",
        "q=1,1e-20&p=0&pay=1",
        "q=0.5,0.3,0.2&p=dog&pay=3,-1,-1&raise=bird",
        "q=" + ",".join(["0.01"] * 100) + "&p=" + ",".join(["0.01"] * 100),
        "q=0.25,0.25,0.25,0.25&p=c&classes=a%2Cb,c,d%3De,f%26g",
    ],
    ids=lambda text: text[:40],
)
def test_the_corners_show_numbers_everywhere(open_page, url, part):
    page = open_page(f"{url}#{part}")
    assert page.locator("#problem").is_hidden()
    for text in ("NaN", "undefined", "not a number", "null"):
        assert text not in page.inner_text("main")
        assert text not in page.evaluate("[...document.querySelectorAll('svg')].map((e) => e.outerHTML).join()")
    # Written to the address and read again it is the same view.
    page.click("#who-pays [data-value='everyone'], #who-pays select >> nth=0")
    page.locator("#margin").fill("12")
    page.wait_for_timeout(250)
    first = page.inner_text("#table")
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    assert page.inner_text("#table") == first
    if page.locator("#python a").count():
        assert "same numbers" in page.inner_text("#python")
