"""Published serving throughput beside what is expected of it: the page's table is the one that the script prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.published_serving import Row, error, markdown, rows

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return list(rows())


def test_the_page_has_the_current_table_and_error(found: list[Row]) -> None:
    page = PAGE.read_text()
    assert markdown(found) in page, "run `python -m scripts.published_serving`"
    assert f"The mean error is {100 * error(found):.1f} %" in page


def test_no_engine_is_faster_than_the_roofline_and_none_far_from_what_is_expected(found: list[Row]) -> None:
    assert len(found) == 12
    assert all(row.published < row.roofline for row in found)
    assert all(0.75 < row.expected / row.published < 1.25 for row in found)
    assert error(found) < 0.15
