"""The report as a browser shows it: nothing overflows, on a phone and on a desk, in light and in dark.

With CROSSCUE_REPORT=report.html the images of the docs are made from that report: `SHOTS`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.evaluation.comparison import compare
from crosscue.evaluation.report import Extras, write_report
from tests.evaluation.test_report import measured
from tests.images import draw_noise

CHROMIUM = Path(os.environ.get("CROSSCUE_CHROMIUM", "/usr/bin/chromium"))
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1100, "height": 1500}
DOCS = Path(__file__).parents[2] / "docs"
SHOTS = {
    "report.jpg": (DESK, "h1"),
    "report_phone.jpg": (PHONE, "h1"),
    "report_queries.jpg": ({"width": 800, "height": 780}, "h2:has-text('most')"),
}
"""Image of the docs -> the size of the window, and the first heading that it shows."""
LARGEST = 1_000_000
"""Bytes of an image in the docs."""
WIDER = """() => [...document.querySelectorAll("body *")].filter(one =>
    !one.closest(".scroll > *") && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: set CROSSCUE_CHROMIUM to a Chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every part, with long words and long captions."""
    folder = tmp_path_factory.mktemp("report")
    made = []
    for index in range(12):
        draw_noise(folder / f"{index}.png", index)
        texts = (f"a thing {index} " + "of a long caption " * 8, f"{'w' * 60} {index}")
        made.append(Pair(ImageFile(folder / f"{index}.png"), texts, str(index), f"kind {index % 3}", split="test"))
    pairs = Pairs(made, "a_source_with_a_long_name_" * 3)
    history = [{"kind": "train", "step": step, "loss": 1 / step} for step in (1, 2, 3)]
    history += [
        {"kind": "validation", "step": 3, "epoch": 1, "rsum": 100.0, "best_epoch": 1, "loss": 0.0},
    ]
    extras = Extras("Retrieval before and after", history, run={"run": "mine", "trained on": "12 images"})
    return write_report(folder / "report", compare(measured(pairs), measured(pairs, seed=1)), pairs, extras)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_overflows_and_words_for_machines_are_folded(
    browser: Any, report: Path, size: dict[str, int], scheme: str
) -> None:
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.evaluate(WIDER) == []
    assert page.locator(".verdict").is_visible()
    assert not page.get_by_text("data fingerprint").is_visible()
    page.get_by_text("The whole protocol, for machines").click()
    assert page.get_by_text("data fingerprint").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.close()


@pytest.mark.parametrize("name", SHOTS)
def test_an_image_of_the_report_is_small(browser: Any, report: Path, name: str, tmp_path: Path) -> None:
    given, (size, heading) = os.environ.get("CROSSCUE_REPORT"), SHOTS[name]
    target = DOCS / name if given else tmp_path / name
    page = browser.new_page(viewport=size, color_scheme="light")
    page.goto(Path(given).resolve().as_uri() if given else report.as_uri())
    page.locator(heading).first.evaluate("heading => heading.scrollIntoView()")
    page.screenshot(path=target, type="jpeg", quality=80)
    page.close()
    for image in (target, DOCS / name):
        assert image.read_bytes()[:2] == b"\xff\xd8", "not a JPEG"
        assert 10_000 < image.stat().st_size < LARGEST
