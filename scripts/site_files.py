"""Which files the site is made of; a hook of MkDocs, named in mkdocs.yml.

MkDocs knows the files of one folder. Ours lie where a reader of the repository looks for them (README.md, docs/,
reports/), and link to each other by the paths between them, so the site takes them under those paths: a link that
works in the repository works on the site as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "reports/*/*.md", "notebooks/README.md")
ASSETS = ("docs/assets/*",)  # named in mkdocs.yml


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files, and ours in place of those that MkDocs found by itself."""
    theirs = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theirs, *(_file(path, config) for path in site_files())])


def site_files() -> list[Path]:
    """Pages, what they show or hand out, and what the theme is told to load."""
    pages = _found(PAGES)
    shown = {target for page in pages for target in linked(page)}
    return sorted({*pages, *shown, *_found(ASSETS)})


def linked(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to, pictures included."""
    for target in re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_file() and path.is_relative_to(ROOT):
            yield path


def _found(patterns: tuple[str, ...]) -> list[Path]:
    return [path for pattern in patterns for path in ROOT.glob(pattern)]


def _file(path: Path, config: MkDocsConfig) -> File:
    return File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
