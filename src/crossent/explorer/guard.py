"""Which requests the page's server answers: those of this machine's browser, from the page itself, and small ones."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LONGEST_QUERY = 1 << 17
LONGEST_HEADERS = 1 << 15
_Headers = Iterable[tuple[bytes, bytes]]


class Guard:
    """Refuse, before anything reads it, what no page of this server sends.

    A page elsewhere can make the browser send a request here, and cannot read the answer; with another name that is
    made to lead here (DNS rebinding) it could. So the host, the origin and the site that the browser tells have to be
    this server's own.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            status, problem = refusal
            await PlainTextResponse(problem, status, {"Connection": "close"})(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: _Headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > LONGEST_HEADERS:
            return 431, f"the headers are longer than {LONGEST_HEADERS} bytes"
        hosts = _values(headers, b"host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 400, "another host's name: expected that of this machine"
        if any(origin != f"http://{hosts[0]}" for origin in _values(headers, b"origin")):
            return 403, "a request of another origin"
        if any(site not in ("same-origin", "none") for site in _values(headers, b"sec-fetch-site")):
            return 403, "a request of another site: open the address itself"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "expected GET"
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_QUERY:
            return 414, f"the address is longer than {LONGEST_QUERY} bytes"
        if _values(headers, b"transfer-encoding") or any(n != "0" for n in _values(headers, b"content-length")):
            return 413, "a request with a body: expected none"
        return None

    def _is_own(self, host: str) -> bool:
        name, colon, port = host.partition(":")
        return name in self._hosts and (port.isdecimal() or not colon)


def _values(headers: _Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for found, value in headers if found == name]
