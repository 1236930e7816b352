"""The documentation as a site: built strictly, of all pages, every link and anchor there, nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("reports/*/*.md")])
# Attributes of elements that a browser loads by itself; of links those that are not pages to go to.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}


class Link(NamedTuple):
    tag: str
    target: str
    loaded: bool


class Links(HTMLParser):
    """Links of a page, what it loads, and the names that can be jumped to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.names: set[str] = {"", "__top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.names |= {found[name] for name in ("id", "name") if name in found}
        if tag in LOADED and LOADED[tag] in found:
            self.links.append(Link(tag, found[LOADED[tag]], loaded=True))
        elif tag in ("a", "link") and "href" in found:
            loaded = tag == "link" and bool(RELATIONS & set(found.get("rel", "").split()))
            self.links.append(Link(tag, found["href"], loaded))


@cache
def parsed(page: Path) -> Links:
    return Links(page.read_text(encoding="utf-8"))


def build(*options: str, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build("--site-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_there(site: Path) -> None:
    made = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")}
    pages = {re.sub(r"README\.md$", "index.md", page.relative_to(ROOT).as_posix()) for page in PAGES}
    assert pages - made == set()


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    loaded = {link.target for page in pages for link in parsed(page).links if link.loaded}
    assert any(target.endswith(".css") for target in loaded)
    assert [target for target in loaded if re.match(r"(\w+:)?//", target)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)'\"]*", styles) == []


@pytest.mark.slow
def test_every_link_inside_leads_somewhere(site: Path) -> None:
    broken = [
        f"{page.relative_to(site)}: {link.target}"
        for page in site.rglob("*.html")
        if page.name != "404.html"  # whose links begin at the root of a server
        for link in parsed(page).links
        if not leads_somewhere(page, link.target)
    ]
    assert broken == []


def leads_somewhere(page: Path, target: str) -> bool:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return True
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if path.suffix != ".html":
        return path.exists()
    return path.is_file() and unquote(parts.fragment) in parsed(path).names


@pytest.mark.slow
def test_the_python_reference_shows_doctests_and_errors_as_such(site: Path) -> None:
    text = (site / "docs/api.html").read_text(encoding="utf-8")
    assert "<blockquote>" not in text  # which `>>>` is to Markdown
    assert "language-pycon" in text
    assert text.count("doc-section-title") > 20  # of the errors that functions raise
    for name in ("perfkit.analyze", "perfkit.latency.Prediction", "perfkit.errors.UnknownName"):
        assert f'id="{name}"' in text


@pytest.mark.slow
def test_the_search_index_can_be_read_from_disk(site: Path) -> None:
    assert (site / "search/search_index.js").read_text(encoding="utf-8").startswith("var __index = {")
    assert "docs/assets/iframe-worker.js" in {link.target for link in parsed(site / "index.html").links if link.loaded}


@pytest.mark.slow
def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path) -> None:
    warnings = {
        "[a page](docs/nowhere.md)": "contains a link 'docs/nowhere.md'",
        "[an anchor](docs/model.md#nowhere)": "does not contain an anchor '#nowhere'",
        "[a folder](docs)": "contains an unrecognized relative link 'docs'",
    }
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    small = {"nav": [{"Home": "README.md"}, {"Model": "docs/model.md"}], "plugins": [], "watch": [], "extra_css": []}
    files = {
        **{path: (ROOT / path).read_text(encoding="utf-8") for path in config["hooks"]},
        "mkdocs.yml": yaml.safe_dump({**config, **small}),
        "docs/model.md": "# Model\n",
        "README.md": "# Home\n\n" + "\n\n".join(warnings),
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    done = build("--site-dir", str(tmp_path / "site"), config=tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert [warning for warning in warnings.values() if warning not in done.stderr] == []


# --- the same without a build: on GitHub pages lie as they are


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MkDocs name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_anchor_that_a_page_names_is_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    missing = [f"{path}#{name}" for path, name in links if name not in anchors(page.parent / path if path else page)]
    assert missing == []


def test_the_site_is_no_part_of_the_repository() -> None:
    assert "site/" in (ROOT / ".gitignore").read_text().splitlines()
