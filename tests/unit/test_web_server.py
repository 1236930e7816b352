"""`perfkit serve`: what stops it, and what Streamlit is told."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import error_line, run

from perfkit.cli import main
from perfkit.errors import InvalidValue
from perfkit.web import server


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Arguments that Streamlit was started with, in place of starting it."""
    found: list[list[str]] = []
    monkeypatch.setattr("streamlit.web.cli.main", lambda arguments, **_: found.append(arguments))
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_a_port_in_use_is_one_line(taken_port: int) -> None:
    message = f"port {taken_port} of 127.0.0.1 is in use: name another by --port"
    assert error_line("serve", "--no-browser", "--port", taken_port) == message


@pytest.mark.parametrize(
    ("port", "shown"),
    [
        ("0", "0"),
        ("65536", "65536"),
        ("99999", "99999"),
        ("http", "'http'"),
        ("-1", "-1"),
        ("9" * 40, f"'{'9' * 30}...'"),
    ],
)
def test_a_port_that_cannot_be_is_one_line(port: str, shown: str) -> None:
    line = error_line("serve", "--no-browser", "--port", port)
    assert line == f"--port must be a whole number from 1 to 65535, not {shown}"


@pytest.mark.parametrize("address", ["nowhere.invalid", "999.1.1.1", "a" * 300, ""])
def test_an_address_that_cannot_be_is_one_line(address: str) -> None:
    line = error_line("serve", "--no-browser", "--address", address, "--port", free_port())
    shown = address if len(address) <= 30 else f"{address[:30]}..."
    assert line == f"--address {shown!r} is no address of this machine; 127.0.0.1: this machine alone"


def test_an_address_of_another_machine_is_one_line() -> None:
    # 192.0.2.0/24 is kept for documentation (RFC 5737): no machine has it.
    line = error_line("serve", "--no-browser", "--address", "192.0.2.1", "--port", free_port())
    assert line == "--address '192.0.2.1' is no address of this machine; 127.0.0.1: this machine alone"


@pytest.mark.parametrize("missing", ["streamlit", "plotly"])
def test_what_is_not_installed_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == missing else object())
    line = error_line("serve", "--no-browser", "--port", free_port())
    assert line == "the page needs Streamlit and Plotly: pip install 'perfkit[web]'"


def test_by_default_it_listens_to_this_machine_alone(started: list[list[str]]) -> None:
    port = free_port()
    result = run("serve", "--no-browser", "--port", port)
    assert result.exit_code == 0, result.output
    assert "warning" not in result.stderr
    ((command, script, *flags),) = started
    assert (command, Path(script).name) == ("run", "page.py")
    options = dict(zip(flags[::2], flags[1::2], strict=True))
    assert options["--server.address"] == "127.0.0.1"
    assert options["--server.port"] == str(port)
    assert options["--server.headless"] == "true"
    assert options["--browser.gatherUsageStats"] == "false"
    assert options["--server.maxUploadSize"] == "5"
    assert options["--client.showErrorDetails"] == "none"
    assert options["--client.toolbarMode"] == "minimal"


def test_another_address_is_warned_of(started: list[list[str]]) -> None:
    result = run("serve", "--no-browser", "--address", "0.0.0.0", "--port", free_port())  # noqa: S104  # on purpose
    assert len(started) == 1
    assert (
        result.stderr.splitlines()[0] == "warning: whoever reaches 0.0.0.0 may use this page: it asks for no password"
    )


def test_every_option_is_one_of_streamlits() -> None:
    from streamlit import config

    known = config.get_config_options()
    asked = [flag.removeprefix("--") for flag in server.arguments_of("127.0.0.1", 1, browser=True)[2::2]]
    assert [name for name in asked if name not in known] == []
    assert len(asked) > 10


def test_ports_have_bounds() -> None:
    assert (server.parse_port("--port", "1"), server.parse_port("--port", "65535")) == (1, 65535)
    with pytest.raises(InvalidValue):
        server.parse_port("--port", "0")


def test_help_loads_no_streamlit() -> None:
    script = (
        "import sys; from perfkit.cli import load_command; load_command('serve'); print('streamlit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert "serve" in main.list_commands(None)  # type: ignore[arg-type]  # which takes no context
