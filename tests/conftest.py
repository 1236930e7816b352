"""What every test starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

MEASURED = Path(__file__).parent / "measured"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Timings last, when the other workers have run out of tests: what runs beside them slows them down."""
    items.sort(key=lambda item: MEASURED in item.path.parents)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 100 columns without wishes about colour, whatever the tests were started in."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
