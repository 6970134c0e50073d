"""The small server behind the page: one document, and the explanation of a prediction as JSON, on this machine only."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable, Iterable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from crossent.errors import invalid_value
from crossent.explanation.plain import dump_json
from crossent.explanation.prediction import explain
from crossent.explorer.document import page, stories
from crossent.explorer.guard import Guard

HOST = "127.0.0.1"
MOST_CLASSES = 100
_LONGEST_REQUEST = 1 << 18
_LONGEST_ERROR = 2000
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def application(story: str = "dog") -> Starlette:
    """Return the application.

    ``GET /`` is the page. ``GET /api/explain`` takes ``probs`` or ``logits``, ``target``, ``pay`` and ``classes`` as
    `crossent.explain` does, each written as JSON, and answers what ``crossent explain --json`` prints.
    ``GET /api/stories`` answers the stories. What another page makes the browser ask is refused (`Guard`).
    """
    document = page(served=True, story=story)
    told = dump_json(stories())
    app = Starlette(
        routes=[
            Route("/", lambda request: HTMLResponse(document, headers=_HEADERS)),
            Route("/api/explain", _explain),
            Route("/api/stories", lambda request: _json(told)),
        ],
        middleware=[Middleware(Guard, hosts=(HOST, "localhost"))],
    )
    # A redirect would send the browser to what a client says the host is.
    app.router.redirect_slashes = False
    return app


def listen(port: int) -> socket.socket:
    """Return a socket bound to a port of this machine alone; 0 takes a free one.

    Raises
    ------
    ValueError
        The port is in use, or not one.
    """
    if not 0 <= port <= 65535:
        raise invalid_value("--port", port, "a number from 0 to 65535; 0 takes a free one")
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        raise invalid_value("--port", port, f"a free port (0 takes one): {error.strerror}") from None
    return bound


def serve(bound: socket.socket, story: str, when_ready: Callable[[], object]) -> None:
    """Serve until interrupted."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            when_ready()

    # h11 reads what is somewhat longer than the guard lets pass, so that it gets an answer that says so.
    config = uvicorn.Config(
        application(story),
        http="h11",
        h11_max_incomplete_event_size=_LONGEST_REQUEST,
        log_level="warning",
        lifespan="off",
    )
    Server(config).run(sockets=[bound])


def _explain(request: Request) -> Response:
    try:
        given = _arguments(request)
        return _json(explain(**given).to_json() + "\n")
    except (ValueError, TypeError) as error:
        # What it quotes of the request may be of any length.
        told = str(error)
        told = told if len(told) <= _LONGEST_ERROR else f"{told[:_LONGEST_ERROR]}…"
        return JSONResponse({"error": told}, status_code=400, headers=_HEADERS)


def _arguments(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in ("probs", "logits", "target", "pay", "classes"):
            raise invalid_value("the parameter", name, "probs, logits, target, pay or classes")
        if name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = _read(name, text)
    if "target" not in found:
        raise ValueError("target is missing: a class, or the truth's mass per class")
    for name in ("probs", "logits"):
        if name in found and len(found[name]) > MOST_CLASSES:
            want = f"at most {MOST_CLASSES} here; crossent explain takes any number"
            raise invalid_value(f"the number of classes of {name}", len(found[name]), want)
    return found


def _read(name: str, text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f'{name} holds {constant}: expected numbers; an infinite logit is written "-inf"')

    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _once(name, pairs), parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} = {text[:60]!r}: expected JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"{name} = {text[:60]!r}…: expected JSON that is not nested so deeply") from None
    if name in ("probs", "logits"):
        if not isinstance(value, (dict, list)):
            raise invalid_value(name, value, "numbers per class, as a list or by name")
        if isinstance(value, dict):
            return {key: _number(f"{name}[{key!r}]", one) for key, one in value.items()}
        return [_number(f"{name}[{i}]", one) for i, one in enumerate(value)]
    return value


def _once(name: str, pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{name}: {key!r} is given twice")
        found[key] = value
    return found


def _number(where: str, value: object) -> float:
    if value in ("inf", "-inf"):
        return math.inf if value == "inf" else -math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid_value(where, value, "a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{where} is a whole number beyond the range of float64") from None


def _json(text: str) -> Response:
    return Response(text, media_type="application/json", headers=_HEADERS)
