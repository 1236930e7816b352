"""reports/figures/ is what `make reports` draws."""

import re
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = spec_from_file_location("figures", ROOT / "scripts/figures.py")
figures = module_from_spec(SPEC)
SPEC.loader.exec_module(figures)  # a script is no part of what is installed

PINNED = re.findall(r"^matplotlib==(.*)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
KEPT = ROOT / figures.TARGET


def texts_of(picture: Path) -> list[str]:
    """Texts of an svg, which stand as comments before the outlines of their letters."""
    return re.findall(r"<!-- (.*?) -->", picture.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_kept_figure_is_current(name, tmp_path):
    figures.draw(name, tmp_path)
    drawn, kept = tmp_path / f"{name}.svg", KEPT / f"{name}.svg"
    assert texts_of(drawn), "matplotlib no longer writes texts as comments"
    assert texts_of(kept) == texts_of(drawn), "run `make reports`"
    if [version("matplotlib")] == PINNED:  # another version draws the same a little differently
        assert kept.read_bytes() == drawn.read_bytes(), "run `make reports`"


def test_no_other_figure_is_kept_and_the_page_is_current():
    assert {path.name for path in KEPT.iterdir()} == {*(f"{name}.svg" for name in figures.FIGURES), "README.md"}
    assert (KEPT / "README.md").read_text() == figures.page(), "run `make reports`"


def test_the_guide_shows_kept_figures_with_their_command_lines():
    guide = (ROOT / "docs/plotting.md").read_text()
    shown = re.findall(r"\(\.\./reports/figures/([\w-]+)\.svg\)", guide)
    assert set(shown) <= set(figures.FIGURES)
    for name in shown:
        assert figures.command_of(name).replace(f"{figures.TARGET.as_posix()}/", "") in guide


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/plotting.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # noqa: S102  # our own guide
    assert "linear layers" in capsys.readouterr().out
    assert (tmp_path / "roofline.pdf").read_bytes().startswith(b"%PDF")
