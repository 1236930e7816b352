"""Start the page: checks that give one line where it cannot start, then Streamlit, told to keep to itself."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

from perfkit.errors import InvalidValue, MachineError
from perfkit.units import LONGEST_SHOWN
from perfkit.web import MEGABYTES

PORT = 8501  # Streamlit's own
ADDRESS = "127.0.0.1"
LARGEST_PORT = 65535
SCRIPT = Path(__file__).with_name("page.py")

# Nothing is sent or fetched, errors do not show code, uploads stay small, and no file is watched.
OPTIONS = {
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "global.developmentMode": "false",
    "logger.hideWelcomeMessage": "true",
    "runner.postScriptGC": "false",  # all sessions wait while it looks through what all libraries hold
    "server.fileWatcherType": "none",
    "server.maxUploadSize": str(MEGABYTES),
    "server.runOnSave": "false",
    "server.showEmailPrompt": "false",
}
# One accent that letters of either theme can be read in; grounds and inks are Streamlit's own.
THEME = {"light.primaryColor": "#0065A0", "dark.primaryColor": "#6CB8EE"}


def parse_port(what: str, text: str) -> int:
    """A port, as typed.

    Raises:
        InvalidValue: it is none.

    >>> parse_port("--port", "8600")
    8600
    """
    port = int(text) if re.fullmatch(r"-?[0-9]{1,12}", text) else _short(text)
    if not isinstance(port, int) or not 1 <= port <= LARGEST_PORT:
        raise InvalidValue(f"{what} must be a whole number from 1 to {LARGEST_PORT}, not {port!r}")
    return port


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def check_free(address: str, port: int) -> None:
    """Refuse an address that cannot be listened at.

    Raises:
        InvalidValue: no address of this machine.
        MachineError: the port is taken, or not ours to take.
    """
    try:
        found = socket.getaddrinfo(address or ".", port, type=socket.SOCK_STREAM)  # an empty one would be any
    except (OSError, UnicodeError):
        raise _no_address(address) from None
    family, kind, *_, place = found[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _no_address(address) from None
            taken = error.errno == errno.EADDRINUSE
            why = "is in use: name another by --port" if taken else f"cannot be had: {error.strerror}"
            raise MachineError(f"port {port} of {address} {why}") from None


def _no_address(address: str) -> InvalidValue:
    return InvalidValue(f"--address {_short(address)!r} is no address of this machine; 127.0.0.1: this machine alone")


def check_installed() -> None:
    """Refuse to start without what the page is made with.

    Raises:
        MachineError: Streamlit or Plotly is not installed.
    """
    if not all(map(find_spec, ("streamlit", "plotly"))):
        raise MachineError("the page needs Streamlit and Plotly: pip install 'perfkit[web]'")


def is_local(address: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0")
    (True, True, False)
    """
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def address_of(address: str, port: int) -> str:
    """What a browser on this machine takes.

    >>> address_of("127.0.0.1", 8501), address_of("0.0.0.0", 80), address_of("::1", 8501)
    ('http://127.0.0.1:8501', 'http://127.0.0.1:80', 'http://[::1]:8501')
    """
    host = ADDRESS if address in ("0.0.0.0", "::") else address  # noqa: S104  # where it listens to all
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def arguments_of(address: str, port: int, *, browser: bool) -> list[str]:
    """Arguments of `streamlit`.

    >>> arguments_of("127.0.0.1", 8501, browser=False)[-4:]
    ['--server.port', '8501', '--server.headless', 'true']
    """
    own = {"server.address": address, "server.port": str(port), "server.headless": "false" if browser else "true"}
    options = {**OPTIONS, **{f"theme.{key}": value for key, value in THEME.items()}, **own}
    return ["run", str(SCRIPT), *_flags(options)]


def _flags(options: dict[str, str]) -> Iterator[str]:
    for name, value in options.items():
        yield from (f"--{name}", value)


def check(address: str, port: int) -> None:
    """Refuse what the page cannot be served at.

    Raises:
        InvalidValue, MachineError: it cannot start.
    """
    check_installed()
    check_free(address, port)


def start(address: str, port: int, *, browser: bool) -> None:
    """Serve the page until it is stopped; `check` comes before."""
    from streamlit.web.cli import main

    main(arguments_of(address, port, browser=browser), prog_name="streamlit", standalone_mode=False)
