"""Pages of published tables: each is as the program makes it now, and the index names them all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from perfkit.papers.reading import paper_names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "papers"


def test_the_pages_are_current() -> None:
    script = "import json; from scripts.paper_reports import pages; print(json.dumps({str(f): t for f, t in pages()}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    written = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    assert written == json.loads(done.stdout), "run `make reports`"


def test_the_index_names_every_paper() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name}.md)" in index for name in paper_names())


def test_make_reports_writes_them() -> None:
    assert "-m scripts.paper_reports" in (ROOT / "Makefile").read_text()
