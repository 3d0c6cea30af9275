"""Images of the page for the documentation, made from the collection of `make demo`.

CROSSCUE_DEMO=runs/demo/emoji.crosscue CROSSCUE_SCREENSHOTS=docs python -m pytest tests/serving/test_screenshots.py
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli import COMMAND
from tests.serving.browser import browser

QUALITY = 80


@pytest.mark.skipif("CROSSCUE_DEMO" not in os.environ, reason="CROSSCUE_DEMO names no collection of `make demo`")
def test_the_page_of_the_demo_is_drawn(tmp_path: Path) -> None:
    out = Path(os.environ.get("CROSSCUE_SCREENSHOTS", tmp_path))
    hidden = ["--hosts", "localhost"]  # with hosts the page shows no path of this machine
    command = [*COMMAND, "serve", os.environ["CROSSCUE_DEMO"], "--port", "0", *hidden]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0].rstrip("/")
        while httpx.get(f"{address}/readyz", timeout=60).status_code != 200:
            time.sleep(0.5)
        with browser() as opened:
            page = opened.new_page(viewport={"width": 1280, "height": 800})
            ask(page, f"{address}/?q=rain+and+thunder&space=after", "#likely .tile")
            shoot(page, out / "page.jpg")
            page.click("#likely .tile a >> nth=0")
            page.wait_for_selector("#detail[open]")
            page.click("#why")
            page.wait_for_selector("#heat:not([hidden])", timeout=120_000)
            page.wait_for_selector("#alike .tile")
            shoot(page, out / "page_why.jpg")
            ask(page, f"{address}/?q=people+in+love&space=after&compare=1", ".columns .tile")
            shoot(page, out / "page_compare.jpg")
            phone = opened.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
            ask(phone, f"{address}/?q=a+fruit&space=after", "#likely .tile")
            shoot(phone, out / "page_phone.jpg")
    finally:
        process.terminate()
        process.wait(30)
    for name in ("page.jpg", "page_why.jpg", "page_compare.jpg", "page_phone.jpg"):
        assert 10_000 < (out / name).stat().st_size < 400_000


def ask(page: Any, url: str, selector: str) -> None:
    """Open an address and wait for its results."""
    page.goto(url)
    page.wait_for_selector(selector, timeout=120_000)


def shoot(page: Any, path: Path) -> None:
    """Save what is seen, when its images are loaded."""
    page.wait_for_function(
        "() => [...document.images].filter((one) => one.checkVisibility() && one.getBoundingClientRect().top < innerHeight).every((one) => one.complete)"
    )
    page.wait_for_timeout(500)
    page.screenshot(path=path, type="jpeg", quality=QUALITY)
