"""Write docs/images/page.png, the page as documentation shows it: `python tests/browser/picture.py`."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "docs/images/page.png"
COLORS = 128  # of the picture, which keeps it small


def draw(page: Any) -> bytes:
    """The page as a small png."""
    from PIL import Image

    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.wait_for_timeout(1000)  # until charts stand still
    taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = io.BytesIO()
    taken.quantize(COLORS).save(small, "PNG", optimize=True)
    return small.getvalue()


def main() -> None:
    """Start the page, open it, and write its picture."""
    from conftest import ARGUMENTS, NAMES, free_port, settled, wait_for
    from playwright.sync_api import sync_playwright

    port = free_port()
    command = [sys.executable, "-m", "perfkit", "serve", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", process)
        with sync_playwright() as playwright:
            path = next(filter(None, map(shutil.which, NAMES)))
            browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(f"http://127.0.0.1:{port}/?gpu=v100-sxm2-32gb&gpu=h100-sxm-80gb&tokens=32")
            page.get_by_label("Precision").wait_for()
            settled(page)
            TARGET.parent.mkdir(exist_ok=True)
            TARGET.write_bytes(draw(page))
            browser.close()
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
