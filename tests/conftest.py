"""What every test starts from."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """No configuration file of whoever runs the tests sets a default in them."""
    os.environ["PERFKIT_CONFIG"] = ""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Timings last, when the other workers have run out of tests: what runs beside them slows them down."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/measured/"))


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 100 columns without wishes about colour, whatever the tests were started in."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that share their cores with other processes wait for each other, small products the longest."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
