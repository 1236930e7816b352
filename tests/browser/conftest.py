"""A server of the page, and a headless Chromium; without either these tests are skipped, and say why."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing of it goes to the network by itself.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = {"desktop": (1400, 900), "phone": (390, 844)}
PATIENCE_S = 60.0

Opened = Callable[..., Any]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of the browser on one worker: one server and one browser do for them."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("browser"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} (Debian: apt-get install chromium)")
    pytest.importorskip("playwright", reason="Playwright drives the browser: pip install playwright")
    return found


@pytest.fixture(scope="session")
def server(chromium: str) -> Iterator[str]:  # noqa: ARG001  # or skipped
    """Address of a server that `perfkit serve` started."""
    pytest.importorskip("streamlit", reason="the page is made with Streamlit: pip install 'perfkit[web]'")
    port = free_port()
    command = [sys.executable, "-m", "perfkit", "serve", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers at an address, or the process that should has ended."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(address).close()  # noqa: S310  # our own server
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers at {address}")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.fixture(scope="session")
def windows(browser: Any) -> Callable[[str, str], Any]:
    """Function that gives a browser of a size and a colour scheme; what it loaded once it keeps."""

    @lru_cache
    def window(size: str, scheme: str) -> Any:
        width, height = SIZES[size]
        return browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)

    return window


@pytest.fixture
def opened(windows: Callable[[str, str], Any], server: str) -> Iterator[Opened]:
    """Function that opens the page: a link's choices, a size and a colour scheme; it waits until all is drawn."""
    pages = []

    def open_page(query: str = "", size: str = "desktop", scheme: str = "light") -> Any:
        page = windows(size, scheme).new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        pages.append(page)
        page.asked = []  # where everything that it loads comes from
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(f"{server}/{query}")
        if size == "desktop":  # on a phone they come when they are asked for
            page.get_by_label("Precision").wait_for()
        settled(page)
        return page

    yield open_page
    for page in pages:
        page.close()


def settled(page: Any) -> None:
    """Wait until the script has run and what it sent is drawn."""
    page.get_by_text("Link to this page").wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
