"""Charts: every format, the same bytes from the same value, whole or not at all."""

import builtins
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from perfkit.charts.charting import chart
from perfkit.charts.rendering import ENDINGS
from perfkit.charts.validation import draw_validation, figure_of
from perfkit.errors import MachineError, UnknownName
from perfkit.files import write_whole
from perfkit.kernel_shapes import KernelShape, gemm
from perfkit.latency import analyze
from perfkit.measuring.cases import KernelCase, PhaseCase
from perfkit.measuring.measurement import Machine, Measurement, Point
from perfkit.measuring.protocol import Timing
from perfkit.validation.judging import validate
from perfkit.views.breakdown import breakdown_view
from perfkit.views.roofline import roofline_view
from perfkit.views.tokens import tokens_view

SVG = "{http://www.w3.org/2000/svg}"
STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype html>"}


def timing(seconds, *, stable=True):
    return Timing((seconds, 1.01 * seconds, 0.99 * seconds) * 3, 3, stable=stable)


def measurement(tokens=(576, 32), batches=(1,), *, fits=True):
    """Phases of LLaVA-1.5-7B on a card, each of a millisecond and a tenth of one a visual token."""
    cases = []
    for b in batches:
        cases.append(PhaseCase("llava-1.5-7b", "vision", 576, 0, b, "fp16", "sdpa"))
        cases += [PhaseCase("llava-1.5-7b", "projector", n, 0, b, "fp16") for n in tokens]
        cases += [PhaseCase("llava-1.5-7b", "prefill", n, 60, b, "fp16", "sdpa") for n in tokens]
        for runtime in ("eager", "graph"):
            cases += [PhaseCase("llava-1.5-7b", "decode", n, 60, b, "fp16", "sdpa", runtime) for n in tokens]
    points = [
        Point(case, "ok", timing(1e-3 + 1e-4 * case.visual_tokens), launches=900)
        if fits
        else Point(case, "out of memory")
        for case in cases
    ]
    points.append(Point(KernelCase(gemm(636, 4096, 4096), "fp16"), "ok", timing(1e-4)))
    points.append(Point(KernelCase(KernelShape("launch"), "fp16"), "ok", timing(5e-6)))
    machine = Machine("cuda", "A <card> & more", "CUDA events", 80 * 10**9, 100, "Linux", {}, "h100-sxm-80gb")
    return Measurement(machine, (), tuple(points), "mine.json")


@pytest.fixture(scope="module")
def validation():
    return validate([measurement()])


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_is_drawn_and_the_same_value_gives_the_same_bytes(ending, validation, tmp_path):
    first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    draw_validation(validation, first)
    draw_validation(validation, second)
    assert first.read_bytes().startswith(STARTS[ending])
    assert first.read_bytes() == second.read_bytes()
    assert not re.search(rb"dc:date|CreationDate|Software", first.read_bytes())


def test_an_ending_in_capitals_is_the_same_format(validation, tmp_path):
    draw_validation(validation, tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes().startswith(STARTS[".png"])


@pytest.mark.parametrize("draw", [draw_validation, lambda v, path: chart(v).save(path)], ids=["points", "accuracy"])
def test_a_name_with_dollars_is_no_formula(draw, tmp_path):
    v = validate([measurement()])
    v = replace(v, machine=v.machine._replace(name="H100 $x_{$"))
    for ending in (".svg", ".pdf"):
        draw(v, tmp_path / f"a{ending}")
    assert "H100 $x_{$" in (tmp_path / "a.svg").read_text()  # as a comment before its outlines


@pytest.mark.parametrize("view", [roofline_view, tokens_view, breakdown_view])
def test_a_device_with_dollars_is_drawn(view, tmp_path):
    card = tmp_path / "t4 $x_{$.yaml"
    card.write_text((Path(__file__).parents[2] / "hardware_specs/t4.yaml").read_text())
    chart(view([analyze(str(card)), analyze("v100")])).save(tmp_path / "a.svg")
    assert "t4 $x_{$" in (tmp_path / "a.svg").read_text()


def test_a_name_without_end_is_cut_in_titles():
    v = validate([measurement()])
    v = replace(v, machine=v.machine._replace(name="word " * 10_000))
    title = figure_of(v).get_suptitle()
    # 60 letters: 57 of the name and three dots
    assert title.startswith(f"{('word ' * 12)[:57]}... (measured) against h100-sxm-80gb (predicted)\n")
    texts = [text.get_text() for text in chart(v).figure().texts]
    assert "..." in "".join(texts)
    assert sum(text.count("word") for text in texts) == 23  # of 5 letters each in 120 - 3


@pytest.mark.parametrize("name", ["chart.jpg", "chart", "chart.svg.gz"])
def test_an_unknown_ending_is_refused_with_those_that_are_known(name, validation, tmp_path):
    with pytest.raises(UnknownName, match=r"unknown ending of a chart .*allowed: \.html, \.pdf, \.png, \.svg"):
        draw_validation(validation, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_message_says_how_to_get_it(validation, tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MachineError, match=r"charts need matplotlib: pip install 'perfkit\[charts\]'"):
        draw_validation(validation, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("tokens", "batches"), [((576,), (1,)), ((576, 288, 144, 64, 32), (1, 8))], ids=["5 points", "42 points"]
)
def test_it_grows_with_its_points(tokens, batches, tmp_path):
    value = validate([measurement(tokens, batches)])
    draw_validation(value, tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()  # noqa: S314  # our own
    rows = len(value.points) + 5  # headings of vision, projector, prefill, decode eager and graph
    inches = float(root.get("height").removesuffix("pt")) / 72
    lower = 3.1 if len(tokens) > 1 else 0  # speed-ups need two counts
    assert inches == pytest.approx(0.21 * rows + lower + 1.7, abs=0.01)


def texts_overlap(figure):
    """Pairs of texts of a figure that cover one another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible()
    ]
    return [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[:i] if one.overlaps(other)], boxes


@pytest.mark.parametrize(
    ("tokens", "batches"), [((576,), (1,)), ((576, 288, 144, 64, 32), (1, 8))], ids=["5 points", "42 points"]
)
def test_no_label_covers_another_or_leaves_the_picture(tokens, batches):
    figure = figure_of(validate([measurement(tokens, batches)]))
    overlaps, boxes = texts_overlap(figure)
    assert overlaps == []
    width, height = figure.get_size_inches() * figure.dpi
    assert all(b.x0 >= 0 and b.x1 <= width and b.y0 >= 0 and b.y1 <= height for _, b in boxes)


def test_points_that_did_not_run_are_drawn_as_words(tmp_path):
    draw_validation(validate([measurement(fits=False)]), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


# --- the page


class Seen(HTMLParser):
    """Tags, their attributes and the text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("href", "src", "xlink:href") and value[0] != "#"]

    def handle_data(self, data):
        self.text.append(data)


def test_a_page_holds_the_picture_and_the_tables_and_loads_nothing(validation, tmp_path):
    draw_validation(validation, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    seen = Seen()
    seen.feed(page)
    assert (seen.links, seen.tags.count("svg"), seen.tags.count("table")) == ([], 1, 4)
    assert not re.search(r"@import|url\((?!#)|<script|<link", page)
    text = "".join(seen.text)
    assert "Where the time goes" in text
    assert "decode, graph" in text
    assert "A <card> & more (measured) against h100-sxm-80gb (predicted)" in text  # escaped once, and read back


def test_bytes_are_written_whole_too(tmp_path):
    write_whole(tmp_path / "a.bin", b"\x00\xff\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff\n"
    with pytest.raises(MachineError, match="nothing was written"):
        write_whole(tmp_path / "none" / "a.bin", b"\x00")
