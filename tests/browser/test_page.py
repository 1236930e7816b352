"""The page in a real browser: what people see, change, take with them and hand to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from click.testing import CliRunner

from perfkit.cli import main
from perfkit.units import format_quantity
from perfkit.web.tabs import TABS, TITLES

Opened = Any
COMMANDS = {
    "roofline": "perfkit plot roofline",
    "phases": "perfkit plot breakdown",
    "tokens": "perfkit plot tokens",
    "gpus": "perfkit roofline",
    "memory": "perfkit roofline",
    "table": "--format latex",
    "plan": "perfkit plan",
    "validate": "perfkit validate",
}
CHARTED = ("roofline", "phases", "tokens", "gpus", "memory")
MEASURED = Path(__file__).parents[2] / "reports/measured/h100-sxm-80gb/llava-1.5-7b.json"


def totals(*arguments: str) -> dict[str, Any]:
    """What `perfkit roofline --format json` says."""
    result = CliRunner().invoke(main, ["roofline", *arguments, "--format", "json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)["totals"]
    return found


def seen(page: Any, device: str = "v100-sxm2-32gb") -> dict[str, str]:
    """The page's figures at a glance by their names."""
    cards = page.locator(f"dl[aria-label='{device}'] > div")
    texts = [card.split("\n") for card in cards.all_inner_texts()]
    return {name: value for name, value, *_ in (list(filter(None, text)) for text in texts)}


def shown(figures: dict[str, Any]) -> dict[str, str]:
    """Totals of the command line as the page writes them."""
    return {
        "TTFT": format_quantity(figures["ttft_roofline_s"], "s"),
        "TPOT": format_quantity(figures["tpot_roofline_s"], "s"),
        "memory": format_quantity(figures["memory_bytes"]["total"], "B"),
    }


def changes_tokens(page: Any, tokens: int) -> None:
    field = page.get_by_label("Visual tokens", exact=True)
    field.fill(str(tokens))
    field.press("Enter")


def waits_for(page: Any, text: str) -> None:
    page.get_by_text(text).first.wait_for()


def no_traceback(page: Any) -> None:
    assert page.locator("[data-testid=stException]").count() == 0
    assert "Traceback" not in page.inner_text("body")


# --- figures


def test_a_change_of_tokens_gives_the_figures_of_the_command_line(opened: Opened) -> None:
    page = opened("?tokens=576")
    before, after = (shown(totals("--gpu", "v100", "--tokens", tokens)) for tokens in ("576", "32"))
    assert before != after
    assert before.items() <= seen(page).items()
    changes_tokens(page, 32)
    waits_for(page, "perfkit roofline --gpu v100-sxm2-32gb --tokens 32")
    page.locator("dl dd.value", has_text=after["TTFT"]).wait_for()
    assert after.items() <= seen(page).items()
    assert parse_qs(urlsplit(page.url).query)["tokens"] == ["32"]
    no_traceback(page)


def test_expected_times_stand_with_their_range(opened: Opened) -> None:
    card = opened("?tokens=32").locator("dl > div").first.inner_text()
    expected = totals("--gpu", "v100", "--tokens", "32")["ttft_expected_s"]
    assert f"expected {format_quantity(expected, 's')} (" in card
    assert "predicted by the roofline" in card


def test_pointing_at_a_mark_tells_op_flops_bytes_time_and_bound(opened: Opened) -> None:
    page = opened("?tokens=32")
    mark = page.locator(".js-plotly-plot .scatterlayer .trace path.point").last
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    told = page.locator(".hoverlayer .hovertext").first
    told.wait_for()
    text = told.text_content()
    assert all(
        word in text for word in ("decode", "FLOPs: ", "bytes: ", "time: ", "bound: ", "(counted)", "(predicted)")
    )


# --- links


def test_a_link_restores_the_state(opened: Opened) -> None:
    query = "?view=memory&gpu=h100-sxm-80gb&gpu=a100-sxm-80gb&tokens=144&batch=4&weights=int4"
    page = opened(query)
    assert page.get_by_role("tab", name="Memory").get_attribute("aria-selected") == "true"
    assert page.get_by_label("Batch", exact=True).input_value() == "4"
    figures = totals("--gpu", "a100-sxm-80gb", "--tokens", "144", "--batch", "4", "--weights", "int4")
    assert shown(figures).items() <= seen(page, "a100-sxm-80gb").items()
    assert parse_qs(urlsplit(page.url).query) == parse_qs(query[1:])


def test_a_bad_link_is_said_and_shows_the_default(opened: Opened) -> None:
    page = opened("?tokens=many&gpu=/etc/passwd&view=![x](http://example.invalid/x.png)")
    alerts = page.get_by_role("alert").all_inner_texts()
    assert [text.split(";")[0] for text in alerts] == [
        "tokens must be a whole number from 0 to 10000000, not 'many'",
        "unknown GPU '/etc/passwd'",
        "unknown view '![x](http://example.invalid/x.png)'",
    ]
    assert page.locator("[role=alert] *").count() == 0
    assert shown(totals("--gpu", "v100")).items() <= seen(page).items()
    no_traceback(page)


def test_what_the_library_refuses_is_one_message(opened: Opened) -> None:
    page = opened("?tokens=9999")
    (text,) = page.get_by_role("alert").all_inner_texts()
    assert "576" in text
    no_traceback(page)


def test_addresses_and_shortcodes_of_a_link_stay_letters(opened: Opened) -> None:
    text = ":fire: https://example.invalid/x :red[a]"
    page = opened(f"?{urlencode({'model': text, 'gpu': ':material/home:'})}")
    model, gpu = page.get_by_role("alert").all_inner_texts()
    assert f"unknown model '{text}'" in model
    assert "unknown GPU ':material/home:'" in gpu
    assert page.locator("[role=alert] *").count() == 0
    assert page.locator("a[href*='example.invalid']").count() == 0


# --- tabs


def turns_to(page: Any, view: str) -> None:
    """Click a tab, and wait for the command line of its figures."""
    page.get_by_role("tab", name=TITLES[view], exact=True).click()
    page.locator(f"[role=tab][aria-selected=true]:has-text('{TITLES[view]}')").wait_for()
    page.locator("[role=tabpanel]:visible [data-testid=stCode]", has_text=COMMANDS[view]).wait_for()
    if view in CHARTED:
        page.locator("[role=tabpanel]:visible .js-plotly-plot .main-svg").first.wait_for()


def test_tabs_and_fields_take_the_keyboard(opened: Opened) -> None:
    page = opened()
    page.get_by_role("tab", name="Roofline").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("[role=tab][aria-selected=true]", has_text="Phases").wait_for()
    waits_for(page, "perfkit plot breakdown")
    page.get_by_label("Text tokens", exact=True).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") in ("INPUT", "BUTTON")


def test_latex_is_downloaded_as_the_command_line_prints_it(opened: Opened) -> None:
    page = opened("?view=table&table-tokens=576,32")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download LaTeX").click()
    assert download.value.suggested_filename == "cost.tex"
    text = Path(download.value.path()).read_text(encoding="utf-8")
    command = ["table", "--gpu", "v100-sxm2-32gb", "--tokens", "576,32", "--format", "latex"]
    printed = CliRunner().invoke(main, command).stdout.rstrip("\n")
    # The first line says how it was asked for: there by the whole line that was typed.
    assert text.splitlines()[1:] == printed.splitlines()[1:]
    assert text.splitlines()[0] == "% perfkit table --gpu v100-sxm2-32gb --tokens 576,32"


def test_a_plan_is_made_when_its_button_is_pressed(opened: Opened) -> None:
    page = opened("?view=plan&gpu=h100-sxm-80gb&tokens=32")
    waits_for(page, "Press Plan")
    page.get_by_role("button", name="Plan", exact=True).click()
    waits_for(page, "candidates meet them")
    waits_for(page, "perfkit plan --gpu h100-sxm-80gb --tokens 32 --ttft 200ms --tpot 30ms")
    no_traceback(page)


# --- files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "bad.json: not JSON"),
        (b'{"schema": "perfkit-measurement", "version": 9}', "bad.json: written by a newer perfkit"),
        (b'{"schema": "![x](http://example.invalid/x.png)"}', "bad.json: no measurement of perfkit"),
    ],
)
def test_a_bad_file_is_one_message(opened: Opened, tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    page = opened("?view=validate")
    page.set_input_files("input[type=file]", str(file))
    waits_for(page, message)
    assert page.locator("[role=alert].pk-error").count() == 1
    no_traceback(page)


def test_a_file_that_is_too_large_is_not_taken(opened: Opened, tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    file.write_bytes(b" " * (6 * 2**20))
    page = opened("?view=validate")
    page.set_input_files("input[type=file]", str(file))
    waits_for(page, "5.0MB")
    no_traceback(page)


def test_a_measurement_is_held_against_its_predictions(opened: Opened) -> None:
    page = opened("?view=validate")
    page.set_input_files("input[type=file]", str(MEASURED))
    waits_for(page, "Absolute percentage error of the predictions")
    waits_for(page, "perfkit validate llava-1.5-7b.json")
    no_traceback(page)


# --- for everyone


def test_on_a_phone_choices_can_be_reached(opened: Opened) -> None:
    page = opened("?tokens=576", size="phone")
    page.get_by_test_id("stExpandSidebarButton").click()
    changes_tokens(page, 32)
    after = shown(totals("--gpu", "v100", "--tokens", "32"))
    page.locator("dl dd.value", has_text=after["TTFT"]).wait_for(state="attached")


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("desktop", "dark"), ("phone", "dark")])
def test_every_tab_is_drawn_and_can_be_used_by_everyone(opened: Opened, size: str, scheme: str) -> None:
    """No error, nothing wider than the window, and nothing serious or critical that axe finds."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe judges the page")
    page = opened("?tokens=32&gpu=v100-sxm2-32gb&gpu=h100-sxm-80gb", size, scheme)
    across = "[document.documentElement, document.querySelector('[data-testid=stMain]')]"
    for view in TABS:
        turns_to(page, view)
        no_traceback(page)
        assert page.locator(".pk-error").count() == 0, view
        assert page.evaluate(f"{across}.map(e => e.scrollWidth - e.clientWidth)") == [0, 0], view
        found = axe.Axe().run(page).response["violations"]
        grave = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert grave == [], view


def test_everything_comes_from_the_page_itself(opened: Opened, server: str) -> None:
    page = opened("?view=tokens")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    elsewhere = [url for url in page.asked if not url.startswith((server, "data:", "blob:"))]
    assert (elsewhere, len(page.asked) > 5) == ([], True)
