"""The page answers this machine's browser, from the page itself; small requests; and no path of the client's."""

from __future__ import annotations

import builtins
import io
import os
import socket
import threading

import pytest
from hardening.targets import ask

pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

GOOD = b"probs=[0.5,0.5]&target=0"
OWN = b"host: 127.0.0.1:8265\n"


def answer(path=b"/api/explain", query=GOOD, headers=OWN, method=b"GET", body=b""):
    return ask([method, path, query, headers, body])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"", 200),
        (b"origin: http://127.0.0.1:8265\n", 200),
        (b"sec-fetch-site: same-origin\n", 200),
        (b"sec-fetch-site: none\n", 200),
        (b"origin: http://evil.example\n", 403),
        (b"origin: null\n", 403),
        (b"origin: \n", 403),
        (b"origin: https://127.0.0.1:8265\n", 403),
        (b"origin: http://127.0.0.1:9999\n", 403),
        (b"origin: http://127.0.0.1:8265.evil.example\n", 403),
        (b"origin: http://localhost:8265\n", 403),
        (b"origin: http://127.0.0.1:8265\norigin: http://evil.example\n", 403),
        (b"sec-fetch-site: cross-site\n", 403),
        (b"sec-fetch-site: same-site\n", 403),
        (b"host: localhost\n", 400),
        (b"content-length: 1\n", 413),
        (b"transfer-encoding: chunked\n", 413),
        (b"x: " + b"a" * 40_000 + b"\n", 431),
    ],
)
@pytest.mark.parametrize("path", [b"/", b"/api/explain", b"/api/stories"])
def test_where_a_request_comes_from(path, headers, status):
    found, body = answer(path, headers=OWN + headers)
    assert found == status
    assert (b"derivatives" in body or b"{" in body) == (status == 200)


@pytest.mark.parametrize(
    "host", [b"evil.example", b"127.0.0.1.evil.example", b"localhost@evil", b"127.0.0.1:80:1", b""]
)
def test_another_hosts_name(host):
    assert answer(headers=b"host: " + host + b"\n")[0] == 400
    assert answer(headers=b"")[0] == 400


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"GRAB"])
def test_other_methods_are_refused(method):
    for path in (b"/", b"/api/explain", b"/nowhere"):
        assert answer(path, method=method)[0] == 405


QUERIES = {
    "deep nesting": b"probs=" + b"[" * 50_000,
    "deep names": b"probs=" + b'{"a":' * 20_000,
    "a huge whole number": b"probs=[1" + b"0" * 400 + b",0]&target=0",
    "one of thousands of digits": b"probs=[" + b"9" * 5000 + b",0]&target=0",
    "a huge truth": b"probs=[0.5,0.5]&target=[1" + b"0" * 400 + b",0]",
    "a huge class": b"probs=[0.5,0.5]&target=1" + b"0" * 400,
    "a huge payment": b"probs=[0.5,0.5]&target=0&pay=[1" + b"0" * 400 + b",0]",
    "half a character": b'probs={"\\ud800":0.5,"b":0.5}&target="c"',
    "no UTF-8": b"probs=%ff%fe&target=%80",
    "bytes": b"probs=\xff&target=0",
    "many parameters": b"&".join(b"a%d=1" % i for i in range(2000)),
}


@pytest.mark.parametrize("kind", QUERIES)
def test_a_question_made_to_do_harm_gets_an_answer(kind):
    status, body = answer(query=QUERIES[kind])
    assert status == 400
    assert body.startswith(b'{"error":')


def test_an_address_that_is_too_long():
    assert answer(query=b"probs=" + b"0" * (1 << 18))[0] == 414


@pytest.mark.parametrize(
    "path",
    ["/../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/page/main.js", "/api/", "/api/explain/", "/%00"],
)
def test_no_path_of_the_clients_reaches_the_file_system(path, monkeypatch):
    answer()  # what is loaded once is loaded
    opened = []

    def watch(real):
        def call(file, *arguments, **options):
            opened.append(file)
            return real(file, *arguments, **options)

        return call

    for module, name in (
        (builtins, "open"),
        (io, "open"),
        (os, "open"),
        (os, "stat"),
        (os, "listdir"),
        (os, "scandir"),
    ):
        monkeypatch.setattr(module, name, watch(getattr(module, name)))
    status, _ = answer(path.encode())
    found = list(opened)
    monkeypatch.undo()
    assert status == 404
    assert not [file for file in found if "etc" in str(file) or "page" in str(file)]


@pytest.fixture(scope="module")
def port():
    from crossent.explorer.server import listen, serve

    bound, ready = listen(0), threading.Event()
    servers = []
    real = uvicorn.Server.run

    def run(self, *arguments, **options):
        servers.append(self)
        return real(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "run", run)
        thread = threading.Thread(target=serve, args=(bound, "dog", ready.set))
        thread.start()
        assert ready.wait(20)
        yield bound.getsockname()[1]
        servers[0].should_exit = True
        thread.join(20)


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(request)
        answer = line.recv(1 << 16)
    return int(answer.split(b" ", 2)[1]) if answer else None


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {200}),
        (b"GET / HTTP/1.1\r\n\r\n", {400}),
        (b"GET /?" + b"a" * (1 << 19) + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {400, 414}),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * (1 << 19) + b"\r\n\r\n", {400, 431}),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", {400}),
        (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999999\r\n\r\n", {405}),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n", {403}),
        (b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00", {400, None}),
        (b"\x00" * 1000, {400, None}),
    ],
)
def test_the_server_itself_takes_any_bytes(port, request_bytes, statuses):
    try:
        found = raw(port, request_bytes)
    except (ConnectionResetError, BrokenPipeError):
        found = None  # closed before all of it was sent
        statuses = {*statuses, None} if len(request_bytes) > 1 << 18 else statuses
    assert found in statuses
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
