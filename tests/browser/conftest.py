"""A real headless Chromium, the server as a user starts it, and a page that tells what it asked for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
LOOPBACK = {"127.0.0.1", "localhost"}


# Per module: while it lives, Playwright's event loop runs in this thread, where other tests start loops of their own.
@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium, or set CHROMIUM to its path")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def address():
    """The address of a server started by the command."""
    command = [sys.executable, "-m", "crossent", "explore", "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + server.stderr.read()
        yield line.split()[0].rstrip("/")
    finally:
        server.send_signal(signal.SIGINT)
        said = server.communicate(timeout=20)[1]
    assert server.returncode == 130
    assert "Traceback" not in said


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The page as one file, written by the command."""
    path = tmp_path_factory.mktemp("explore") / "explore.html"
    subprocess.run(
        [sys.executable, "-m", "crossent", "explore", "--export", str(path)], check=True, capture_output=True
    )
    return path


@pytest.fixture
def open_page(browser):
    """Return a function that opens an address; what leaves loopback, fails or is an error ends the test."""
    contexts, outside, complaints = [], [], []

    def guard(route):
        parts = urlsplit(route.request.url)
        if parts.scheme in ("data", "file", "blob") or parts.hostname in LOOPBACK:
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    def start(url, *, width=1440, height=900, scheme="light", reduced_motion="reduce"):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion=reduced_motion
        )
        contexts.append(context)
        context.route("**/*", guard)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
        page.goto(url)
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield start
    for context in contexts:
        for page in context.pages:
            page.evaluate("0")  # What the page said before this answer has been heard by now.
    heard = list(complaints)  # Closing cuts off requests that are still under way, which is nobody's fault.
    for context in contexts:
        context.close()
    assert outside == []
    assert heard == []
