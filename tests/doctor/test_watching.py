"""The watch disturbs nothing: the same bits and exceptions, nothing kept alive, little time; and what it reports."""

import gc
import json
import threading
import time
import weakref
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.profiler import profile

import crossent.torch as ct
from crossent.torch.doctor.findings import Finding, Ledger
from crossent.torch.doctor.log import Log, read
from crossent.torch.doctor.report import Report


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(*sizes, dropout=0.0):
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


def train(loss=functional.cross_entropy, steps=5, dropout=0.2, autocast=False, wrap=lambda model: model):
    """Train a small network; return all that the training has left behind."""
    torch.manual_seed(3)
    model = network(8, 32, 4, dropout=dropout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    called = wrap(model)
    losses = []
    for step in range(steps):
        x = torch.randn(24, 8)
        y = (torch.arange(24) + step) % 4
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = loss(called(x), y)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    gradients = [p.grad.clone() for p in model.parameters()]
    return losses, [p.detach().clone() for p in model.parameters()], gradients, torch.get_rng_state()


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return all(map(same, one, other))
    return one == other


def by_hand(logits, target):
    return -torch.log(torch.softmax(logits, dim=1).clamp(min=1e-7))[torch.arange(len(target)), target].mean()


def by_one_hot(logits, target):
    return -(functional.one_hot(target, 4) * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("loss", [functional.cross_entropy, ct.cross_entropy, by_hand, by_one_hot])
def test_training_is_the_same_to_the_bit(loss, autocast, every):
    plain = train(loss, autocast=autocast)
    with ct.doctor(sample_every=every, grad_check=True) as report:
        watched = train(loss, autocast=autocast)
    assert same(plain, watched)
    assert report.notes == []


def test_a_compiled_model_keeps_its_graph_and_its_bits():
    def compiled(model):
        torch._dynamo.reset()
        return torch.compile(model, backend="aot_eager", fullgraph=True)

    plain = train(wrap=compiled, dropout=0.0)
    with ct.doctor() as report:
        watched = train(wrap=compiled, dropout=0.0)
    assert same(plain, watched)
    assert report.steps == 5


# The compiler's own, for logits that are no leaf, with or without the watch.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_losses_inside_of_compiled_functions_are_said_to_be_unseen():
    torch._dynamo.reset()
    loss = torch.compile(lambda z, y: functional.cross_entropy(z, y), backend="aot_eager", fullgraph=True)
    with ct.doctor() as report:
        train(loss)
    assert report.steps == 0
    assert "compiled" in report.notes[0]


def test_attention_takes_its_fast_path_all_the_same():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    x = torch.randn(2, 5, 16)

    def operations():
        with torch.no_grad(), profile() as seen:
            layer(x)
        return {event.key for event in seen.key_averages()}

    plain = operations()
    with ct.doctor():
        watched = operations()
    assert "aten::_transformer_encoder_layer_fwd" in plain
    assert watched == plain


def test_nothing_is_kept_alive():
    with ct.doctor():
        logits = torch.randn(8, 4, requires_grad=True)
        probs = torch.softmax(logits, dim=1)
        loss = functional.nll_loss(torch.log(probs + 1e-6), torch.zeros(8, dtype=torch.long))
        (loss * 0.5).backward()
        alive = [weakref.ref(one) for one in (logits, probs, loss)]
        del logits, probs, loss
        gc.collect()
        assert [one() for one in alive[1:2]] == [None]


def test_an_exception_of_the_loss_is_the_script_s_own_and_is_explained():
    with ct.doctor() as report, pytest.raises(IndexError, match="out of bounds"):
        functional.cross_entropy(torch.randn(4, 3), torch.tensor([0, 1, 2, 3]))
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("label-out-of-range", "error")
    assert finding.where.startswith("tests/doctor/test_watching.py:") or "test_watching.py:" in finding.where
    assert finding.numbers["first"] == "target[3] = 3"


def test_the_modes_of_the_script_stay_its_own():
    class Counting(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    with ct.doctor(sample_every=2):
        with Counting() as mode:
            train(steps=3)
            assert mode in _get_current_function_mode_stack()
        assert mode not in _get_current_function_mode_stack()
        train(steps=1)
        with torch.device("cpu"):
            train(steps=4)
            assert torch.empty(1).device.type == "cpu"
    assert _get_current_function_mode_stack() == []


def test_transforms_and_shapes_without_values_pass_unseen():
    z, y = torch.randn(6, 4), torch.arange(6) % 4
    plain = torch.func.vmap(torch.func.grad(functional.cross_entropy))(z, y)
    with ct.doctor() as report:
        watched = torch.func.vmap(torch.func.grad(functional.cross_entropy))(z, y)
        assert functional.cross_entropy(z.to("meta"), y.to("meta")).is_meta
        torch.func.jacrev(lambda one: functional.cross_entropy(one, y))(z)
    assert torch.equal(plain, watched)
    assert report.findings == []
    assert report.notes == []


def test_other_threads_go_on():
    outcome = []
    with ct.doctor():
        thread = threading.Thread(target=lambda: outcome.append(train()))
        thread.start()
        thread.join()
    assert same(outcome[0][0], train()[0])


def test_training_in_another_thread_is_said_to_be_unseen():
    with ct.doctor() as report:
        for target in (train, train):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert report.steps == 0
    assert report.findings == []
    (note,) = report.notes
    assert "another thread" in note


def test_training_beside_another_thread_that_trains_is_watched_at_its_own_steps():
    done = threading.Event()

    def others():
        while not done.is_set():
            train(steps=1)

    thread = threading.Thread(target=others)
    with ct.doctor(sample_every=4) as report:
        thread.start()
        train(lambda z, y: functional.cross_entropy(torch.softmax(z, dim=1), y), steps=12)
        done.set()
        thread.join()
    assert report.findings[0].count == 3


def test_parts_that_are_a_little_uneven_are_a_warning_and_very_uneven_ones_an_error():
    def severity(*sizes):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        with ct.doctor() as report:
            for n in sizes:
                (functional.cross_entropy(model(torch.randn(n, 5)), torch.arange(n) % 3) / len(sizes)).backward()
            optimizer.step()
        ((share, found),) = [
            (one.numbers["share of the gradient's weight on the wrong rows"], one.severity) for one in report.findings
        ]
        return share, found

    # A quarter of the weight for every part, and of the rows 100/370 and 70/370.
    assert severity(100, 100, 100, 70) == (pytest.approx(1 / 4 - 70 / 370), "error")
    assert severity(100, 100, 100, 85) == (pytest.approx(1 / 4 - 85 / 385), "warning")


def test_watching_stops_after_the_given_number_of_calls():
    with ct.doctor(steps=2) as report:
        for rows in range(4):
            functional.cross_entropy(torch.randn(3, 3), torch.full((3,), -100 if rows >= 2 else 1))
    assert report.steps == 2
    assert report.findings == []


def test_sampling_looks_at_some_steps_only():
    def loss(logits, target):
        return functional.cross_entropy(torch.softmax(logits, dim=1), target)

    with ct.doctor(sample_every=4) as report:
        train(loss, steps=12)
    assert report.findings[0].count == 3


def test_of_steps_that_take_far_less_than_a_look_fewer_are_looked_at_but_for_the_first():
    with ct.doctor(sample_every=2) as report:
        train(lambda z, y: functional.cross_entropy(torch.softmax(z, dim=1), y), steps=400)
    assert 8 <= report.findings[0].count < 100


@pytest.mark.parametrize("option", [{"steps": 0}, {"sample_every": 0}, {"sample_every": 1.5}, {"steps": "all"}])
def test_numbers_of_steps_are_whole_and_positive(option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} = .*: expected a whole number of at least 1"), ct.doctor(**option):
        pass


@pytest.mark.parametrize(
    "loss",
    [
        ct.cross_entropy,
        lambda z, y: ct.cross_entropy(z, y, reduction="sum") / 20,
        lambda z, y: ct.focal_loss(z, y),
        lambda z, y: ct.cross_entropy_from_probs(torch.softmax(z, dim=1), y),
        lambda z, y: ct.cross_entropy_from_log_probs(torch.log_softmax(z, dim=1), y),
        lambda z, y: ct.fenchel_young_loss(z, y),
        functional.cross_entropy,
    ],
)
def test_sound_losses_are_passed_over_in_silence(loss):
    with ct.doctor(grad_check=True) as report:
        train(loss)
    assert report.findings == []
    assert report.notes == []


def test_confident_rows_are_no_finding_with_the_exact_loss():
    z = (torch.eye(4) * 50).requires_grad_()
    with ct.doctor() as report:
        ct.cross_entropy(z, torch.arange(4)).backward()
    assert report.findings == []
    with ct.doctor() as report:
        functional.cross_entropy(z, torch.arange(4)).backward()
    (finding,) = report.findings
    assert finding.code == "collapsed-rows"
    assert finding.numbers["loss"] == 0.0
    assert finding.numbers["true loss"] == pytest.approx(3 * 1.9287498e-22, rel=1e-6)


def test_the_size_of_the_accumulation_error_is_that_of_the_losses():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x, y = torch.randn(40, 5), torch.arange(40) % 3
    parts = (slice(0, 10), slice(10, 40))

    def step(scale):
        for part in parts:
            (functional.cross_entropy(model(x[part]), y[part]) * scale(part)).backward()
        optimizer.step()

    with ct.doctor() as report:
        step(lambda part: 0.5)
    (finding,) = report.findings
    means = [functional.cross_entropy(model(x[part]), y[part]).item() for part in parts]
    assert finding.numbers["mean of the means (nats)"] == pytest.approx(sum(means) / 2)
    assert finding.numbers["mean of the batch (nats)"] == pytest.approx((means[0] + 3 * means[1]) / 4)
    with ct.doctor() as report:
        step(lambda part: (part.stop - part.start) / 40)
    assert report.findings == []


def test_a_step_that_is_not_looked_at_costs_next_to_nothing():
    torch.manual_seed(0)
    model = network(64, 512, 512, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(128, 64), torch.arange(128) % 10

    def seconds(n=20):
        start = time.process_time()
        for _ in range(n):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return time.process_time() - start

    seconds()
    plain, watched = [], []
    for _ in range(7):
        plain.append(seconds())
        with ct.doctor(sample_every=20):
            watched.append(seconds(21) * 20 / 21)
    # Under 1.1 on a quiet machine; what else runs on this one is noise, which only adds.
    assert min(watched) < 1.3 * min(plain), (plain, watched)


class Structure(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta",):
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_reads_as_text_json_and_a_page_of_its_own():
    with ct.doctor() as report:
        functional.cross_entropy(torch.full((2, 3), torch.nan), torch.full((2,), -100))
        functional.nll_loss(torch.rand(4, 3), torch.arange(4) % 3)
    told = json.loads(report.to_json())
    assert [one["code"] for one in told["findings"]] == [f.code for f in report.findings]
    assert told["version"] == 1
    assert told["ended"] == "normally"
    text = report.text()
    for finding in report.findings:
        assert finding.code in text
        assert finding.where in text
    page = Structure()
    page.feed(report.to_html())
    assert page.open == []
    assert page.links == []


def test_a_name_with_angle_brackets_is_text_in_the_page():
    report = Report([Finding("all-ignored", "error", "<script>:1", {"a<b": "c&d"}, "w", "f")], script="<x>")
    page = report.to_html()
    assert "<script>" not in page
    assert "&lt;script&gt;:1" in page


def test_a_finding_stands_once_with_its_worst_numbers():
    ledger = Ledger()
    for size, severity in ((1.0, "note"), (3.0, "warning"), (2.0, "warning")):
        ledger.add(Finding("imbalance", severity, "x.py:1", {"size": size}, "", ""), size)
    (finding,) = ledger.findings()
    assert (finding.count, finding.severity, finding.numbers["size"]) == (3, "warning", 3.0)


def test_what_a_killed_process_has_written_is_read(tmp_path):
    log = Log(tmp_path)
    with ct.doctor() as report:
        functional.cross_entropy(torch.zeros(2, 3), torch.full((2,), -100))
        log.tell(report)
    (file,) = tmp_path.iterdir()
    with file.open("a") as cut_off:
        cut_off.write('{"finding": {"code": "ima')
    found = read(tmp_path)
    assert [f.code for f in found.findings] == ["all-ignored"]
    assert found.steps == 1
