"""How fast the page answers: the first session of a fresh server, one session's changes, and those of 20 at once.

Sessions are websocket clients that speak Streamlit's own protocol, as browsers do: each asks for the page, then changes
its visual tokens, and a change ends when the server says that the script has finished, every figure sent. No two
changes of a view ask for the same count, so that no answer is kept from another. Server and clients share two cores.
What browsers do with the answer is not in it. Beside what a change takes stands what it takes of the server's
processor, to which others on the machine add little; changes at once are made one after the other there. The reference
is a page with one number alone, under the same sessions.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from perfkit.web.server import arguments_of

SESSIONS, ROUNDS, CORES = 20, 10, 2
START_S, CHANGE_S, ALL_S = 3.0, 0.2, 1.0  # targets
LABEL = "Visual tokens"
BARE = f"import streamlit as st\nst.code(st.number_input({LABEL!r}, 0, 10**7))\n"
VIEWS = ("roofline", "phases", "tokens", "gpus", "memory", "table", "plan", "validate")


class Session:
    """A websocket to a server of Streamlit, and the id of its widget of visual tokens."""

    def __init__(self, port: int, query: str = "") -> None:
        self._port, self._query, self._widget = port, query, ""
        self._socket: Any = None

    async def open(self) -> float:
        """Seconds until the page has been sent for the first time."""
        from websockets.asyncio.client import connect

        start = time.perf_counter()
        address = f"127.0.0.1:{self._port}"
        self._socket = await connect(f"ws://{address}/_stcore/stream", subprotocols=["streamlit"], max_size=None)
        await self._run({})
        return time.perf_counter() - start

    async def change(self, tokens: int) -> float:
        """Seconds until the page of another count of visual tokens has been sent."""
        start = time.perf_counter()
        sent = await self._run({self._widget: tokens})
        assert str(tokens) in sent, sent  # noqa: S101  # a page that did not change would be fast
        return time.perf_counter() - start

    async def close(self) -> None:
        """End the session."""
        await self._socket.close()

    async def _run(self, states: dict[str, int]) -> str:
        """Let the script run; the command lines that it sends."""
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        message = BackMsg()
        message.rerun_script.query_string = self._query
        for widget, value in states.items():
            message.rerun_script.widget_states.widgets.add(id=widget, double_value=value)
        await self._socket.send(message.SerializeToString())
        sent = []
        while True:
            received = ForwardMsg()
            received.ParseFromString(await self._socket.recv())
            element = received.delta.new_element
            if element.WhichOneof("type") == "number_input" and element.number_input.label == LABEL:
                self._widget = element.number_input.id
            if element.WhichOneof("type") == "code":
                sent.append(element.code.code_text)
            if received.WhichOneof("type") == "script_finished":
                return "\n".join(sent)


class Server(NamedTuple):
    """A server: where it listens, and its process."""

    port: int
    pid: int

    @property
    def processor_s(self) -> float:
        """Seconds of processors that it has taken so far."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Changes(NamedTuple):
    """Seconds of every change, and seconds of processors that the server took for one."""

    seconds: list[float]
    processor_s: float


@contextmanager
def server(script: Path | None = None) -> Iterator[Server]:
    """A fresh server of the page, or of another script."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    arguments = arguments_of("127.0.0.1", port, browser=False)
    arguments[1] = str(script or arguments[1])
    command = [sys.executable, "-m", "streamlit", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address).close()  # noqa: S310  # our own server
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


async def changes(served: Server, sessions: int, rounds: int, query: str = "") -> Changes:
    """Changes of all sessions at the same time in each round."""
    opened = [Session(served.port, query) for _ in range(sessions)]
    for session in opened:
        await session.open()
    tokens, found, start = count(1), [], served.processor_s
    for _ in range(rounds):
        found += await asyncio.gather(*(session.change(next(tokens)) for session in opened))
    taken = (served.processor_s - start) / len(found)
    for session in opened:
        await session.close()
    return Changes(found, taken)


def told(name: str, made: Changes, reference: Changes, target: float | None = None) -> None:
    """One line: median and worst of changes, what they take of the processor, and how many times the reference's."""
    middle, worst = statistics.median(made.seconds), max(made.seconds)
    times = statistics.median(reference.seconds)
    ratio = f"processor {made.processor_s * 1e3:3.0f} ms   {middle / times:5.1f} x reference"
    verdict = "" if target is None else f"   target {target:g} s: {'reached' if worst < target else 'MISSED'}"
    print(f"{name:36} median {middle * 1e3:6.0f} ms   worst {worst * 1e3:6.0f} ms   {ratio}{verdict}")


def main() -> None:
    """Print the start, changes of one session in each tab, and changes of 20 sessions at once."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # servers inherit it
    with TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, encoding="utf-8")
        with server(bare) as plain:
            alone = asyncio.run(changes(plain, 1, ROUNDS))
            together = asyncio.run(changes(plain, SESSIONS, ROUNDS))
    told("one number, 1 session (reference)", alone, alone)
    told(f"one number, {SESSIONS} sessions (reference)", together, together)
    with server() as page:
        start = asyncio.run(Session(page.port).open())
        verdict = "reached" if start < START_S else "MISSED"
        print(f"first session of a fresh server, imports included   {start:5.2f} s   target {START_S:g} s: {verdict}")
        for view in VIEWS:
            told(f"{view}, 1 session", asyncio.run(changes(page, 1, ROUNDS, f"view={view}")), alone, CHANGE_S)
        told(f"roofline, {SESSIONS} sessions", asyncio.run(changes(page, SESSIONS, ROUNDS)), together, ALL_S)


if __name__ == "__main__":
    main()
