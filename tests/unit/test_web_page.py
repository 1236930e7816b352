"""The script that Streamlit runs, without a browser: what it shows, keeps and refuses; and its charts."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from numpy import frombuffer

from perfkit import remarks
from perfkit.planning.planner import plan
from perfkit.validation.judging import validate
from perfkit.web import answers, page, uploads
from perfkit.web.figures.breakdown import breakdown_figure
from perfkit.web.figures.gpus import memory_figure, times_figure
from perfkit.web.figures.legend import legend_html
from perfkit.web.figures.looks import ticks
from perfkit.web.figures.plans import front_figure
from perfkit.web.figures.roofline import roofline_figure
from perfkit.web.figures.sending import checked
from perfkit.web.figures.tokens import panels_of, tokens_figure
from perfkit.web.figures.validation import validation_figure
from perfkit.web.markup import STYLE, cards_of, tables_html
from perfkit.web.state import Asked
from perfkit.web.tabs import TABS
from perfkit.web.tabs.memory import memory_table

MEASURED = Path(__file__).parents[2] / "reports/measured/h100-sxm-80gb/llava-1.5-7b.json"
SEVERAL = Asked(gpu=("v100-sxm2-32gb", "h100-sxm-80gb"), tokens=32)
MARKUP = ":fire: https://example.invalid/x :red[a] :material/home:"
CHANGE_S = 0.2  # of the processor's time, for a change of tokens


def script(**query: str | list[str]) -> Any:
    """The page after its first run."""
    from streamlit.testing.v1 import AppTest

    found = AppTest.from_file(page.__file__, default_timeout=60)
    for name, value in query.items():
        found.query_params[name.replace("_", "-")] = value
    return found.run()


def texts(run: Any) -> list[str]:
    return [element.value for element in run.code]


def boxes(run: Any, kind: str = "error") -> list[str]:
    """What stands in boxes of a kind, as it is read."""
    drawn = "\n".join(element.proto.body for element in run.get("html"))
    return [unescape(text) for text in re.findall(rf'<div class="pk-box pk-{kind}" role="alert">(.*?)</div>', drawn)]


# --- the script


@pytest.mark.parametrize("view", TABS)
def test_every_tab_runs_and_names_a_command(view: str) -> None:
    run = script(view=view, tokens="32")
    assert [one.value for one in run.exception] == []
    assert boxes(run) == []
    assert any("perfkit " in text for text in texts(run))


@pytest.mark.parametrize("view", TABS)
@pytest.mark.parametrize("model", ["clip-vit-l-14-336", "bert-base", "llama-3-8b"])
def test_models_without_images_or_new_tokens_say_what_they_cannot_show(model: str, view: str) -> None:
    run = script(view=view, model=model)
    assert [one.value for one in run.exception] == []
    assert len(boxes(run)) <= 1


def test_a_change_of_tokens_changes_the_link_and_the_command() -> None:
    run = script(tokens="576")
    run.number_input(key="ask_tokens").set_value(32).run()
    assert run.query_params["tokens"] == ["32"] or run.query_params["tokens"] == "32"
    assert texts(run)[0].splitlines()[0] == "perfkit roofline --gpu v100-sxm2-32gb --tokens 32"


def test_a_change_of_tokens_takes_little_of_the_processor() -> None:
    run = script()
    taken = []
    for tokens in (32, 64, 96, 128, 160):
        start = time.process_time()
        run.number_input(key="ask_tokens").set_value(tokens).run()
        taken.append(time.process_time() - start)
    assert min(taken) < CHANGE_S  # what others do on the machine only adds to it


def test_tokens_that_a_link_gave_can_be_taken_back() -> None:
    run = script(tokens="32", reduction="sequential:n=64")
    assert "--tokens 32" in texts(run)[0]
    run.button(key="empty_tokens").click().run()
    assert "--tokens" not in texts(run)[0]
    assert "tokens" not in run.query_params
    assert run.number_input(key="ask_tokens_1").value is None
    run.number_input(key="ask_tokens_1").set_value(16).run()
    assert "--tokens 16" in texts(run)[0]
    run.number_input(key="ask_tokens_1").set_value(None).run()
    assert "--tokens" not in texts(run)[0]
    assert [button.key for button in run.button] == []  # an empty field can be emptied by itself


def test_what_was_chosen_in_a_tab_is_there_when_it_is_seen_again() -> None:
    run = script(view="table")
    run.text_input(key="ask_table_tokens").set_value("576,32").run()
    assert "--tokens 576,32" in texts(run)[-2]
    run.session_state["view"] = "Memory"
    run.run()
    assert "text_input" not in [element.type for element in run.text_input]
    run.session_state["view"] = "Paper table"
    run.run()
    assert run.text_input(key="ask_table_tokens").value == "576,32"


def test_warnings_of_a_link_go_when_something_is_chosen() -> None:
    run = script(batch="x")
    assert boxes(run, "warning") == [
        "batch must be a whole number from 1 to 10000000, not 'x'; the page shows its default, 1"
    ]
    run.number_input(key="ask_tokens").set_value(32).run()
    assert boxes(run, "warning") == []


@pytest.mark.parametrize("text", ["![x](http://example.invalid/x.png)", "<a href=x>&amp;", MARKUP])
def test_what_a_link_brings_is_no_markup(text: str) -> None:
    run = script(model=text)
    (warning,) = boxes(run, "warning")
    assert text in warning
    assert [one.proto.body for one in run.get("html") if "<a" in one.proto.body or "<img" in one.proto.body] == []
    read_as_markdown = [*run.markdown, *run.warning, *run.error, *run.info, *run.caption]
    assert [one.value for one in read_as_markdown if "example.invalid" in one.value or ":fire:" in one.value] == []


@pytest.mark.parametrize("view", TABS)
@pytest.mark.parametrize("query", [{"reduction": "fastv:k=999,r=0.5"}, {"gpu": ""}])
def test_one_problem_is_said_once(view: str, query: dict[str, str]) -> None:
    run = script(view=view, **query)
    assert [one.value for one in run.exception] == []
    (line,) = boxes(run)
    assert line.endswith(("the language model has 32 layers: k is from 1 to 31", "choose a GPU"))
    assert run.query_params.items() >= query.items()


def test_columns_that_are_all_taken_away_are_in_the_link() -> None:
    run = script(view="table")
    run.multiselect(key="ask_columns").set_value([]).run()
    assert boxes(run) == ["columns is empty: a table needs at least one"]
    assert run.query_params["columns"] in ("", [""])
    assert script(view="table", columns="").multiselect(key="ask_columns").value == []


@pytest.mark.parametrize("error", [OverflowError("too large"), ZeroDivisionError("by zero"), ValueError("none")])
def test_what_cannot_be_drawn_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr("perfkit.web.figures.gpus.memory_figure", fails)
    run = script(view="memory")
    assert [one.value for one in run.exception] == []
    (line,) = boxes(run)
    assert line.startswith("This cannot be drawn: ")


# --- files


def test_a_file_is_judged_once_in_a_session_and_forgotten_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = uploads.validation_of
    monkeypatch.setattr(uploads, "validation_of", lambda data, name: asked.append(name) or real(data, name))
    for name, data, said in (("mine.json", MEASURED.read_bytes(), 0), ("bad.json", b"no json", 1)):
        asked.clear()
        run = script(view="validate")
        run.file_uploader(key="measurement").set_value((name, data, "application/json")).run()
        run.number_input(key="ask_tokens").set_value(32).run()
        assert [one.value for one in run.exception] == []
        assert (asked, len(boxes(run))) == ([name], said)
        run.file_uploader(key="measurement").set_value(None).run()
        assert "judged" not in run.session_state


def test_labels_of_a_files_tables_are_none_of_its_words() -> None:
    document = json.loads(MEASURED.read_text())
    document["machine"]["name"] = MARKUP
    run = script(view="validate")
    data = json.dumps(document).encode()
    run.file_uploader(key="measurement").set_value(("mine.json", data, "application/json")).run()
    labels = [one.label for one in run.expander]
    tables = ["Each phase", "Where the time goes", "Speed-ups"]
    assert [label for label in labels if label in tables] == tables
    assert [label for label in labels if "fire" in label] == []


def test_a_request_that_cannot_be_is_refused_in_the_librarys_words() -> None:
    run = script(tokens="9999")
    (line,) = boxes(run)
    assert "llava" in line
    assert "576" in line


def test_a_format_that_a_card_cannot_run_is_said() -> None:
    run = script(precision="fp8")
    assert "v100" in boxes(run)[0]
    assert [one.value for one in run.exception] == []


def test_memory_that_is_exceeded_is_warned_of() -> None:
    run = script(model="llava-1.5-13b", gpu="v100-sxm2-16gb")
    assert any("does not fit" in one for one in boxes(run, "warning"))
    (p,) = answers.predictions(Asked(model="llava-1.5-13b", gpu=("v100-sxm2-16gb",)))
    assert memory_table([p]).notes[1:] == tuple(remarks.memory_warnings(p))
    assert memory_table([p]).rows[0][-1] == "no"


# --- charts


def every_figure() -> list[tuple[str, Callable[[], Any]]]:
    found: list[tuple[str, Callable[[], Any]]] = []
    for name, asked in (("one", Asked(tokens=32)), ("several", SEVERAL)):
        predictions = answers.predictions(asked)
        view = answers.tokens(asked)
        found += [
            (f"roofline, {name}", lambda asked=asked: roofline_figure(answers.roofline(asked))),
            (f"first, {name}", lambda asked=asked: breakdown_figure(answers.breakdown(asked), step=False)),
            (f"step, {name}", lambda asked=asked: breakdown_figure(answers.breakdown(asked), step=True)),
            (f"ttft, {name}", lambda p=predictions: times_figure(p, step=False)),
            (f"tpot, {name}", lambda p=predictions: times_figure(p, step=True)),
            (f"memory, {name}", lambda p=predictions: memory_figure(p)),
        ]
        found += [(f"{p.title}, {name}", lambda v=view, p=p: tokens_figure(v, p, 32)) for p in panels_of(view)]
    return found


def others_with_axes() -> list[tuple[str, Callable[[], Any]]]:
    """Figures that take longer to make, so that they are made in the test."""
    goals = {"tokens": 32, "ttft_s": 0.1, "tpot_s": 0.03, "tp": 1}
    return [
        ("front", lambda: front_figure(plan("h100-sxm-80gb", **goals))),
        ("validation", lambda: validation_figure(validate([MEASURED]))),
    ]


@pytest.mark.parametrize(("name", "make"), every_figure())
def test_plotly_takes_every_figure_and_its_legend_names_what_it_shows(name: str, make: Callable[[], Any]) -> None:
    from plotly.graph_objects import Figure

    made = make()
    assert len(Figure(made).data) == len(made["data"]) > 0  # which refuses what Plotly does not know
    named = [trace["name"] for trace in made["data"] if "name" in trace]
    assert legend_html(made).count("<li>") == (len(named) if len(named) > 1 else 0), name


def plain(value: Any) -> Any:
    """A figure as it is sent, arrays that Plotly packed as lists of their numbers."""
    if isinstance(value, dict) and "bdata" in value:
        return frombuffer(b64decode(value["bdata"]), value["dtype"]).tolist()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "make"), [*every_figure(), *others_with_axes()])
def test_what_is_sent_unchecked_is_what_plotly_would_send(name: str, make: Callable[[], Any]) -> None:
    import streamlit  # noqa: F401  # which registers its look
    from plotly import io
    from plotly.graph_objects import Figure

    sent, own = (io.to_json(figure, validate=False) for figure in (checked(make()).to_dict(), Figure(make()).to_dict()))
    assert plain(json.loads(sent)) == plain(json.loads(own)), name


def test_a_chart_reaches_the_browser_with_streamlits_look() -> None:
    (chart,) = script(tokens="32").get("plotly_chart")
    from plotly.graph_objects import Figure

    figure = Figure(roofline_figure(answers.roofline(Asked(tokens=32))))
    assert plain(json.loads(chart.proto.spec)) == plain(json.loads(figure.to_json()))
    assert "colorway" in json.loads(chart.proto.spec)["layout"]["template"]["layout"]


def test_marks_of_the_roofline_are_the_points_of_the_library() -> None:
    view = answers.roofline(SEVERAL)
    marks = [trace for trace in roofline_figure(view)["data"] if "name" in trace]
    drawn = {(x, y) for trace in marks for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert drawn == {(point.intensity, point.flops_per_s) for roof in view.roofs for point in roof.points}


def test_bars_of_the_breakdown_add_up_to_the_time() -> None:
    (p,) = answers.predictions(Asked(tokens=32))
    bars = breakdown_figure(answers.breakdown(Asked(tokens=32)), step=False)["data"]
    assert sum(x for bar in bars for x in bar["x"] if x) == pytest.approx(p.ttft_roofline_s, rel=1e-12)


def test_bars_of_memory_add_up_to_what_is_needed() -> None:
    predictions = answers.predictions(SEVERAL)
    *bars, cards = memory_figure(predictions)["data"]
    sums = [sum(bar["x"][i] for bar in bars) for i in range(2)]
    assert sums == pytest.approx([p.footprint.needed for p in predictions], rel=1e-12)
    assert cards["x"] == [32e9, 80e9]  # V100-SXM2-32GB, H100-SXM-80GB


def test_expected_times_have_their_range_as_a_line() -> None:
    (p,) = answers.predictions(Asked(tokens=32))
    _, bar = times_figure([p], step=False)["data"]
    low, high = p.ttft_range_s or (0, 0)
    assert bar["name"].endswith("nine of ten should lie within the line)")
    (expected,), (up,), (down,) = bar["x"], bar["error_x"]["array"], bar["error_x"]["arrayminus"]
    assert (expected - down, expected + up) == pytest.approx((low, high), rel=1e-12)


def test_candidates_of_a_plan_are_those_that_meet_the_goals() -> None:
    planned = plan("h100-sxm-80gb", tokens=32, ttft_s=0.1, tpot_s=0.03, tp=1)
    figure = front_figure(planned)
    assert figure is not None
    *dots, ring = figure["data"]
    assert sum(len(trace["x"]) for trace in dots) == planned.feasible.sum()
    assert len(ring["x"]) == planned.on_front.sum()


def test_a_plan_without_any_price_has_no_chart_of_costs() -> None:
    assert front_figure(plan("v100-sxm2-32gb", tokens=32, ttft_s=1.0, tpot_s=1.0, tp=1)) is None


def test_a_measurement_is_a_mark_a_phase() -> None:
    from plotly.graph_objects import Figure

    validation = validate([MEASURED])
    made = validation_figure(validation)
    Figure(made)
    marks = sum(len(trace["y"]) for trace in made["data"][1:])
    assert marks == sum(point.measured_s is not None for point in validation.points)


# --- markup


def test_cards_say_what_each_figure_is() -> None:
    (p,) = answers.predictions(Asked(tokens=32))
    bases = [card.basis for card in cards_of(p)]
    assert all(any(word in basis for word in ("predicted", "counted")) for basis in bases)
    assert "expected" in bases[0]


def test_bars_of_letters_are_left_out_of_tables() -> None:
    from perfkit import reports

    html = tables_html(reports.overview(answers.predictions(Asked())))
    assert "█" not in html
    assert "prefill" in html


def test_no_style_loads_anything() -> None:
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_ticks_of_nothing_are_none() -> None:
    assert ticks(0.0, "s") == {}
