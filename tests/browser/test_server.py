"""The small server: this machine alone, its own name alone, and clear answers to bad questions."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crossent.stories import STORIES

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "crossent", *arguments], capture_output=True, text=True, **options)


PREDICTIONS = [
    (
        ["--probs", "dog=0.5,cat=0.49,bird=0.01", "--label", "dog"],
        {"probs": {"dog": 0.5, "cat": 0.49, "bird": 0.01}, "target": "dog"},
    ),
    (
        ["--probs", "a=0,b=0.75,c=0.25", "--truth", "a=0.5,c=0.7", "--pay", "b"],
        {"probs": {"a": 0, "b": 0.75, "c": 0.25}, "target": {"a": 0.5, "c": 0.7}, "pay": "b"},
    ),
    (["--logits", "x=46,y=0,z=-inf", "--label", "x"], {"logits": {"x": 46, "y": 0, "z": "-inf"}, "target": "x"}),
]


@pytest.mark.parametrize(("arguments", "asked"), PREDICTIONS, ids=["inside", "boundary", "logits"])
def test_the_json_is_that_of_explain_byte_for_byte(address, arguments, asked):
    printed = run("explain", *arguments, "--json", check=True).stdout
    answer = httpx.get(f"{address}/api/explain", params={name: json.dumps(value) for name, value in asked.items()})
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == printed.encode()


def test_the_stories_are_those_of_explain(address):
    told = {story["name"]: story for story in httpx.get(f"{address}/api/stories").json()}
    assert list(told) == list(STORIES)
    printed = json.loads(run("explain", "--story", "deck", "--json", check=True).stdout)
    for shown in told["deck"]["predictions"]:
        shown.pop("quiz")
    assert told["deck"] == printed


BAD = {
    "not JSON": ({"probs": "0.5;0.5", "target": "0"}, "probs = '0.5;0.5': expected JSON"),
    "negative": ({"probs": "[1.5, -0.5]", "target": "0"}, "probs['1'] = -0.5: expected a finite number >= 0"),
    "sum": ({"probs": "[0.5, 0.6]", "target": "0"}, "the sum of probs = 1.1: expected 1 within 1e-06"),
    "text": ({"probs": '["half", 0.5]', "target": "0"}, "probs[0] = 'half': expected a number"),
    "NaN": ({"probs": "[NaN, 0.5]", "target": "0"}, "probs holds NaN: expected numbers"),
    "no list": ({"probs": "1", "target": "0"}, "probs = 1: expected numbers per class"),
    "no target": ({"probs": "[0.5, 0.5]"}, "target is missing"),
    "no prediction": ({"target": "0"}, "explain takes one of probs and logits: neither given"),
    "class": ({"probs": "[0.5, 0.5]", "target": '"wolf"'}, "target = 'wolf': expected one of '0', '1'"),
    "parameter": (
        {"probs": "[0.5, 0.5]", "target": "0", "file": '"/etc/passwd"'},
        "the parameter = 'file': expected probs",
    ),
    "a name twice": ({"probs": '{"a": 0.5, "a": 0.5}', "target": "0"}, "probs: 'a' is given twice"),
    "10,000 classes": (
        {"probs": json.dumps([0] * 10_000), "target": "0"},
        "the number of classes of probs = 10000: expected at most 100",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_clear_message(address, name):
    asked, message = BAD[name]
    answer = httpx.get(f"{address}/api/explain", params=asked)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)


def test_a_parameter_given_twice_is_refused(address):
    answer = httpx.get(f"{address}/api/explain?probs=[0.5,0.5]&target=0&target=1")
    assert (answer.status_code, answer.json()["error"]) == (400, "target is given twice")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/explain?probs=[0.5,0.5]&target=0", "/api/stories"])
def test_another_hosts_name_is_refused(address, host, path):
    answer = httpx.get(address + path, headers={"Host": host})
    assert answer.status_code == 400
    assert "derivatives" not in answer.text
    assert httpx.get(address + path, headers={"Host": f"localhost:{urlsplit(address).port}"}).status_code == 200


def test_it_listens_on_loopback_alone(address):
    port = urlsplit(address).port
    # Every address of 127/8 leads to this machine; a server bound to all of them would answer.
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_the_page_may_load_nothing_and_be_framed_by_nobody(address):
    answer = httpx.get(address)
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.text.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert httpx.post(address).status_code == 405
    assert httpx.get(f"{address}/../etc/passwd").status_code == 404


def test_a_port_in_use_is_said(address):
    port = str(urlsplit(address).port)
    done = run("explore", "--no-browser", "--port", port)
    assert done.returncode == 2
    assert done.stderr.startswith(f"crossent: error: --port = {port}: expected a free port (0 takes one)")
    assert "expected a number from 0 to 65535" in run("explore", "--no-browser", "--port", "70000").stderr


def test_an_unknown_story_is_refused():
    done = run("explore", "--story", "cat", "--no-browser")
    assert done.returncode == 2
    assert "--story = 'cat': expected one of 'dog', 'deck'" in done.stderr


def test_the_export_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "page.html"
    assert run("explore", "--export", str(path), check=True).stdout.strip() == str(path)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    text = path.read_text("utf-8")
    assert text.endswith("</html>\n")
    for word in ("http://", "https://", "src=", "{{"):
        assert word not in text.replace("http://www.w3.org/2000/svg", "")
    missing = run("explore", "--export", str(tmp_path / "no" / "page.html"))
    assert missing.returncode == 2
    assert "there is no folder" in missing.stderr
    assert run("explore", "--export", str(tmp_path)).returncode == 2


def test_the_export_needs_no_server_library(tmp_path):
    code = (
        "import sys; sys.modules['starlette'] = sys.modules['uvicorn'] = None\n"
        "from crossent.cli import main; main(['explore', *{arguments}])"
    )
    arguments = ["--export", str(tmp_path / "page.html")]
    done = subprocess.run([sys.executable, "-c", code.format(arguments=arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code.format(arguments=["--no-browser"])], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "pip install 'crossent[explore]'" in done.stderr


def test_a_built_wheel_has_the_page(tmp_path):
    source = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        str(tmp_path),
    ]
    # Which files go in does not depend on the kernels: without CMake it takes a second.
    subprocess.run([*command, "-C", "wheel.cmake=false", str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    page = resources.files("crossent.explorer") / "page"
    files = {f"crossent/explorer/page/{file.name}" for file in page.iterdir()}
    assert len(files) > 15
    assert files <= names
