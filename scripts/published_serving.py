"""Tokens a second that TensorRT-LLM's documentation prints of static batches, beside what is expected of them.

`python -m scripts.published_serving` prints the table of docs/serving.md. The figures are those of
docs/source/performance.md of TensorRT-LLM 0.5.0, "High Throughput", LLaMA 7B; nothing is fitted to them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import NamedTuple

import click

from perfkit import analyze
from perfkit.metrics import mape
from scripts.pages import ROOT

TABLE = ROOT / "docs" / "examples" / "published-serving.csv"


class Row(NamedTuple):
    """A row of the table: a batch that starts together, its published tokens a second, and both predictions."""

    gpu: str
    precision: str
    batch: int
    text_tokens: int
    new_tokens: int
    published: float
    roofline: float
    expected: float


def rows() -> Iterator[Row]:
    """Every published figure, predicted."""
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            batch, text, new = (int(row[key]) for key in ("batch", "text_tokens", "new_tokens"))
            p = analyze(
                row["gpu"],
                row["model"],
                tokens=0,
                text_tokens=text,
                new_tokens=new,
                batch=batch,
                precision=row["precision"],
            )
            assert p.tpot_roofline_s is not None  # noqa: S101  # a language model
            assert p.ttft_expected_s is not None  # noqa: S101  # on a calibrated device
            assert p.tpot_expected_s is not None  # noqa: S101
            roofline = batch * new / (p.ttft_roofline_s + (new - 1) * p.tpot_roofline_s)
            expected = batch * new / (p.ttft_expected_s + (new - 1) * p.tpot_expected_s)
            published = float(row["tokens_per_s"])
            yield Row(row["gpu"], row["precision"], batch, text, new, published, roofline, expected)


def error(found: list[Row]) -> float:
    """Mean of |expected - published| over published."""
    return mape([(row.expected, row.published) for row in found])


def markdown(found: list[Row]) -> str:
    """The table as docs/serving.md has it."""
    lines = ["| GPU | format | batch | prompt | new | published | expected | roofline |", "| --- " * 8 + "|"]
    for row in found:
        ratio = f"{row.expected:.0f} ({row.expected / row.published:.2f})"
        cells = (row.gpu, row.precision, row.batch, row.text_tokens, row.new_tokens, f"{row.published:.0f}", ratio)
        lines.append(f"| {' | '.join(map(str, cells))} | {row.roofline:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table and its error."""
    found = list(rows())
    click.echo(f"{markdown(found)}\n\nmean error {error(found):.1%}")


if __name__ == "__main__":
    main()
