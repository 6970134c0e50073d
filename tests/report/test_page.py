"""The report is one whole page that fetches nothing and shows what it was given."""

import base64
import io
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import polars as pl
import pytest

from crossent.data import Dataset
from crossent.errors import DataError
from crossent.report import Evaluation, History, Report, write_report

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """The open and closed tags of a page, its texts and its attributes."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


def evaluation(n_classes, n=300, wrong=0.3, names=None):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, n)
    guessed = np.where(rng.random(n) < wrong, (labels + 1) % n_classes, labels)
    logits = rng.normal(size=(n, n_classes)) + 6 * np.eye(n_classes)[guessed]
    names = names or [f"class {c}" for c in range(n_classes)]
    return Evaluation(logits, labels, names, np.full(n_classes, 1 / n_classes))


def table(n=300):
    frame = pl.DataFrame({"size": np.arange(n) / 7, "kind <b>": ["a&b", None, "c"] * (n // 3)})
    return Dataset("t.csv", frame, np.arange(1, n + 1))


def images(n=300):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 5, 7)).astype(np.uint8)
    return Dataset("digits", pixels, np.arange(1, n + 1))


def written(tmp_path, scores, dataset, **options):
    path = write_report(tmp_path / "report.html", Report("data <i>.csv", "test rows", scores, dataset, **options))
    return path.read_text(encoding="utf-8")


HISTORY = History([0.9, 0.5, 0.4], [0.8, 0.6, 0.7], [0.5, 0.7, 0.6], 2)


@pytest.mark.parametrize("n_classes", [2, 10, 30, 300])
@pytest.mark.parametrize("dataset", [table(), images()], ids=["table", "images"])
def test_the_page_is_well_formed_and_fetches_nothing(tmp_path, n_classes, dataset):
    text = written(tmp_path, evaluation(n_classes), dataset, history=HISTORY, notes=["a <note>"], facts=[("x", "<y>")])
    page = Page(text)
    assert page.stack == []
    outside_pictures = re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", text)
    assert not re.search(r"https?:|//|@import", outside_pictures)
    assert "script" not in page.tags
    for name, value in page.attributes:
        if name in ("href", "src", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,"))
    for url in re.findall(r"url\(([^)]*)\)", text):
        assert url.startswith("#")


def test_names_of_parts_are_unique_and_found(tmp_path):
    page = Page(written(tmp_path, evaluation(300), table(), history=HISTORY))
    names = [value for name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    for name, value in page.attributes:
        if name == "href" and value.startswith("#"):
            assert value[1:] in names


def test_the_page_says_the_scores(tmp_path):
    scores = evaluation(10)
    text = " ".join(Page(written(tmp_path, scores, table())).texts).replace("\N{NO-BREAK SPACE}", " ")
    for shown in (f"{scores.log_loss:.4f}", f"{100 * scores.accuracy:.1f} %", f"{scores.brier:.4f}"):
        assert shown in text
    assert f"{100 * scores.calibration_error:.1f} %" in text
    assert f"{scores.n_wrong} of 300 wrong" in text


def test_what_the_user_wrote_stays_text(tmp_path):
    names = ["<script>alert(1)</script>", '"quoted" & more']
    page = Page(written(tmp_path, evaluation(2, names=names), table(), notes=["<u>"], facts=[("<s>", "<u>")]))
    assert {"script", "i", "u", "s"}.isdisjoint(page.tags)
    assert names[0] in page.texts
    assert "kind <b>" in page.texts


def test_every_count_of_a_small_confusion_is_written(tmp_path):
    scores = evaluation(10)
    cells = re.findall(r"<td[^>]*>([\d,·]+)</td>", written(tmp_path, scores, images()))
    counts = [0 if cell == "·" else int(cell) for cell in cells[:100]]
    assert counts == scores.confusion.ravel().tolist()


def test_a_large_confusion_is_a_picture_and_its_most_frequent_mistakes(tmp_path):
    scores = evaluation(300, n=6000)
    page = Page(written(tmp_path, scores, table(6000)))
    assert page.tags.count("td") == 4 * 12
    mistakes = scores.confusion - np.diag(np.diag(scores.confusion))
    worst = np.unravel_index(mistakes.argmax(), mistakes.shape)
    at = page.texts.index(f"class {worst[1]}", page.texts.index(f"class {worst[0]}"))
    assert page.texts[at + 1] == str(mistakes.max())


def test_mistakes_show_the_images_themselves(tmp_path):
    scores, dataset = evaluation(10), images()
    text = written(tmp_path, scores, dataset)
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 10
    shown = matplotlib.image.imread(io.BytesIO(base64.b64decode(pictures[0])), format="png")[..., 0]
    pixels = dataset.features[scores.confident_mistakes()[0]].astype(float)
    expected = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    np.testing.assert_allclose(shown, expected, atol=2 / 255)  # two roundings


def test_mistakes_show_the_row_and_its_values(tmp_path):
    scores, dataset = evaluation(3), table()
    row = int(scores.confident_mistakes()[0])
    texts = Page(written(tmp_path, scores, dataset)).texts
    first = texts[texts.index(" taken for ") - 1 :]
    assert first[0] == scores.classes[scores.labels[row]]
    assert first[2] == scores.classes[scores.predictions[row]]
    assert f"row\N{NO-BREAK SPACE}{row + 1}" in first[3]
    assert first[4:6] == ["size", f"{row / 7:.6g}"]
    assert first[7] == (dataset.features["kind <b>"][row] or "missing")


def test_a_model_without_mistakes_has_a_page(tmp_path):
    texts = Page(written(tmp_path, evaluation(3, wrong=0), table())).texts
    assert "There is none: every row is predicted right." in texts


@pytest.mark.parametrize(
    "history", [History([]), History([0.5]), History([0.5, 0.4]), History([0.5], [0.6], [0.7], 1), HISTORY]
)
def test_every_history_can_be_drawn(tmp_path, history):
    text = written(tmp_path, evaluation(3), table(), history=history)
    assert ("Learning curve" in text) == bool(history.loss)
    assert (f"epoch {history.best_epoch} is kept" in text) == (history.best_epoch is not None)


def test_a_report_replaces_the_old_one_whole_or_not_at_all(tmp_path):
    written(tmp_path, evaluation(3), table())
    with pytest.raises(DataError, match="there is no folder"):
        written(tmp_path / "absent", evaluation(3), table())
    broken = Evaluation(np.zeros((2, 2)), np.array([0, 5]), ["a", "b"], np.array([0.5, 0.5]))
    before = (tmp_path / "report.html").read_bytes()
    with pytest.raises(ValueError, match="5"):
        written(tmp_path, broken, table(3))
    assert (tmp_path / "report.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
