"""The page in a real browser: typing, dropping, keys, comparison, reasons, marks, and every theme and size."""

from __future__ import annotations

import base64
import io
import json
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crosscue.search.collection import open_collection
from crosscue.search.labels import Label, add_labels, labels_of, remove_label
from crosscue.serving.keys import Keys, new_key
from crosscue.serving.security import Rules
from tests.serving.browser import browser, running
from tests.serving.conftest import collect
from tests.serving.encoders import COLOURS, data_url

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
PASTE = """([name, body]) => {
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type: "image/png" }));
  window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, bubbles: true }));
}"""
DROP = PASTE.replace(
    'ClipboardEvent("paste", { clipboardData: held', 'DragEvent("drop", { dataTransfer: held, cancelable: true'
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def boards(painted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "boards"
    shutil.copytree(painted, folder)
    return folder


@pytest.fixture(scope="module")
def address(boards: Path) -> Iterator[str]:
    with running(boards) as found:
        yield found


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    opened.goto(f"{address}/?space=base")
    opened.wait_for_selector("body[data-ready]")
    yield opened
    assert not faults
    context.close()


def ask(page: Any, words: str) -> None:
    page.fill("#words", words)
    page.wait_for_function("words => new URLSearchParams(location.search).get('q') === words", arg=words)
    answered(page)


def answered(page: Any) -> None:
    """Waits for hits; before a search, the tiles of the page are some of the images."""
    page.wait_for_selector("#results:not(:has(.some)) .tile")
    settle(page)


def settle(page: Any) -> None:
    page.wait_for_function("() => !document.querySelector('#results').classList.contains('loading')")


def names(page: Any, inside: str = "#results .tile img") -> list[str]:
    return page.eval_on_selector_all(inside, "images => images.map((image) => image.alt)")


def focused(page: Any) -> str | None:
    return page.evaluate("document.activeElement.closest('.tile')?.dataset.id ?? null")


def test_results_come_while_one_types_and_the_line_ends_them(page: Any) -> None:
    ask(page, "green")
    assert all(name.startswith("a green") for name in names(page, "#likely .tile img"))
    assert "likely of 60 images" in page.inner_text("#status")
    assert "Good results end here" in page.inner_text("#line")
    before = len(names(page))
    page.click("#below")
    assert len(names(page)) > before


def test_the_page_before_a_search_shows_some_images_and_each_opens(page: Any) -> None:
    shown = page.eval_on_selector_all(".some img", "all => all.map((one) => one.alt)")
    assert len(set(shown)) == 24 and {name.split("-")[0] for name in shown} == set(COLOURS)
    page.wait_for_function("() => [...document.querySelectorAll('.some img')].some((one) => one.naturalWidth > 0)")
    page.click(".some a >> nth=5")
    page.wait_for_selector("#detail[open]")
    assert page.inner_text("#name") == shown[5]
    page.keyboard.press("Escape")
    ask(page, "red")
    assert not page.query_selector(".some")


def test_an_older_answer_never_replaces_a_newer_one(page: Any, address: str) -> None:
    held: list[Any] = []

    def route(handling: Any) -> None:
        if "red" in (handling.request.post_data or "") and not held:
            held.append(handling)
        else:
            handling.continue_()

    page.route("**/api/search", route)
    page.fill("#words", "red")
    page.wait_for_timeout(400)
    ask(page, "blue")
    shown = names(page)
    held[0].continue_()
    page.wait_for_timeout(600)
    assert names(page) == shown and shown[0].startswith("a blue")


def test_one_request_follows_the_last_key(page: Any) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if "/api/search" in request.url else None)
    page.click("#words")
    page.keyboard.type("green board", delay=20)
    answered(page)
    page.wait_for_timeout(300)
    assert len(sent) <= 2 and json.loads(sent[-1])["query"][0]["text"] == "green board"


def test_a_dropped_image_becomes_a_term_with_a_weight(page: Any) -> None:
    page.evaluate(DROP, ["red.png", data_url(COLOURS["red"]).split(",")[1]])
    page.wait_for_selector(".chip img")
    answered(page)
    assert names(page)[0].startswith("a red")
    page.click(".chip button >> nth=0")  # twice
    page.click(".chip button >> nth=0")  # minus
    page.wait_for_selector(".chip.minus")
    ask(page, "green")
    assert names(page)[0].startswith("a green")
    page.click(".chip button >> nth=1")
    assert page.query_selector(".chip") is None


def test_an_image_is_pasted_and_chosen(page: Any) -> None:
    body = base64.b64decode(data_url(COLOURS["blue"]).split(",")[1])
    page.evaluate(PASTE, ["red.png", data_url(COLOURS["red"]).split(",")[1]])
    page.wait_for_selector(".chip img")
    answered(page)
    assert names(page)[0].startswith("a red")
    page.click(".chip button >> nth=1")
    page.set_input_files("#file", {"name": "blue.png", "mimeType": "image/png", "buffer": body})
    page.wait_for_function("() => document.querySelector('#results .tile img')?.alt.startsWith('a blue')")


def test_keys_move_open_select_mark_and_go_back(page: Any, boards: Path) -> None:
    ask(page, "red")
    page.keyboard.press("ArrowDown")
    first = focused(page)
    page.keyboard.press("ArrowRight")
    assert first and focused(page) not in (None, first)
    page.keyboard.press("ArrowLeft")
    assert focused(page) == first
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open]")
    assert f"open={first}" in page.url
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('#detail').open")
    page.keyboard.press("Space")
    assert page.inner_text("#selected") == "1 selected"
    page.keyboard.press("Control+a")
    page.wait_for_function("() => document.querySelector('#selected').textContent !== '1 selected'")
    likely = int(page.inner_text("#selected").split()[0])
    badges = page.eval_on_selector_all("#likely .badge", "all => all.map((one) => parseInt(one.textContent))")
    assert likely == len(names(page, "#likely .tile img")) - len(badges) + sum(badges)  # copies are stacked
    page.keyboard.press("Escape")
    assert page.is_hidden("#selection")
    page.keyboard.press("r")
    page.wait_for_selector(".tile.right")
    assert ("red", first, True) in {
        (label.text, label.image, label.relevant) for label in labels_of(open_collection(boards))
    }
    marked = page.inner_text("#marked")
    assert "1 marked for 'red'; 9 more texts with a right image, and adapting can begin." in marked
    page.keyboard.press("r")
    page.wait_for_function("() => !document.querySelector('.tile.right')")
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")


def test_clicks_with_ctrl_and_shift_select_as_in_a_file_manager(page: Any) -> None:
    ask(page, "blue")
    page.click("#below")
    tiles = page.locator("#results .tile a")
    tiles.nth(1).click(modifiers=["Control"])
    tiles.nth(4).click(modifiers=["Control"])
    assert page.inner_text("#selected") == "2 selected"
    tiles.nth(6).click(modifiers=["Shift"])
    assert page.inner_text("#selected") == "4 selected"
    tiles.nth(1).click(modifiers=["Control"])
    assert page.inner_text("#selected") == "3 selected"
    assert len(page.context.pages) == 1 and page.is_hidden("#detail")


def test_a_selection_is_copied_and_downloaded(page: Any, boards: Path) -> None:
    ask(page, "blue")
    page.hover("#likely .tile >> nth=0")
    page.click("#likely .tile >> nth=0 >> .pick")
    page.click("#likely .tile >> nth=2 >> .pick", modifiers=["Shift"])
    assert page.inner_text("#selected") == "3 selected"
    page.click("[data-act=paths]")
    page.wait_for_function("() => document.querySelector('#status').textContent.includes('copied')")
    paths = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert len(paths) == 3 and all(Path(path).exists() for path in paths)
    page.click("[data-act=command]")
    page.wait_for_function("() => document.querySelector('#status').textContent.includes('command')")
    command = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    collection = str(boards / ".crosscue")
    assert command == [*f"crosscue search blue --collection {collection} --space base --k 3 --paths".split()]
    with page.expect_download() as download:
        page.click("[data-act=pairs]")
    rows = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert rows == [{"image": path, "captions": ["blue"]} for path in paths]
    with page.expect_download() as download:
        page.click("#zip button")
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as made:
        assert sorted(made.namelist()) == sorted(Path(path).name for path in paths)


def test_two_models_stand_side_by_side(page: Any) -> None:
    ask(page, "green")
    page.click("#compare")
    page.wait_for_selector(".columns .tile")
    left, right = (names(page, f".columns section:nth-child({side}) img") for side in (1, 2))
    assert left[0].startswith("a green") and right[0].startswith("a blue")
    assert "compare=1" in page.url
    first = page.locator(".columns section:first-of-type .tile a >> nth=0").bounding_box()
    second = page.locator(".columns section:nth-of-type(2) .tile a >> nth=0").bounding_box()
    lines = page.eval_on_selector_all(".lines path", "all => all.map((one) => one.getBoundingClientRect().toJSON())")
    assert lines
    for line in lines:  # each begins and ends beside an image
        assert abs(line["left"] - first["x"] - first["width"]) < 12 and abs(line["right"] - second["x"]) < 12
    page.go_back()
    page.wait_for_selector("#likely .tile")


def test_compare_without_words_shows_the_gain_on_held_out_marks(page: Any, boards: Path) -> None:
    collection = open_collection(boards)
    page.goto(page.url + "&compare=1")
    page.wait_for_selector("#problem:not([hidden])")
    assert "no held-out text has a right image" in page.inner_text("#problem")
    rows = {row["name"][:-4]: row["id"] for row in collection.table("base").search().limit(None).to_list()}
    chosen = [name for name in sorted(rows) if not name.startswith("red")]
    labels = [Label(f"a {name.split('-')[0]} board like {name}", rows[name], True) for name in chosen]
    add_labels(collection, labels)
    page.goto(page.url.replace("&compare=1", ""))
    page.wait_for_selector("#marks:not([hidden])")
    page.click("#loop")
    page.wait_for_selector("#next[open]")
    assert "are held out, and the gain is measured on them" in page.inner_text("#advice")
    assert page.inner_text("#commands").splitlines()[-1].endswith("--gain marked") and page.is_hidden("#unsure")
    page.keyboard.press("Escape")
    for words in ("red", chosen[0].split("-")[0], labels[0].text):
        ask(page, words)
    page.click("#loop")
    page.wait_for_selector("#unsure:not([hidden])")
    assert set(page.inner_text("#nexts").split()) == {"red", "blue"}  # the third has a mark
    page.click("#gains")
    page.wait_for_selector(".gains tbody tr")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    assert not axe.Axe().run(page).response["violations"]
    assert "recall@10 of 20 held-out texts" in page.inner_text("#gain") and "compare=1" in page.url
    assert len(page.query_selector_all(".gains tbody tr")) == 20
    page.click(".gains tbody button >> nth=0")
    page.wait_for_selector(".columns .tile")
    page.go_back()
    page.wait_for_selector(".gains")
    page.click("#compare")
    page.wait_for_selector("#start")
    for label in labels:
        remove_label(collection, label.text, label.image)


def test_the_reason_is_shown_with_its_warning(page: Any) -> None:
    ask(page, "red board")
    page.click("#likely .tile a >> nth=0")
    page.wait_for_selector("#detail[open]")
    assert "good from" in page.inner_text("#meter")
    page.click("#why")
    page.wait_for_selector("#heat:not([hidden])")
    text = page.inner_text("#explanation")
    assert "red" in text and "It does not show what the model understood." in text
    assert "The changes add up to " in text
    page.click("#similar")
    page.wait_for_selector(".chip img")
    assert "t=1%3A%40" in page.url


def test_words_for_one_of_two_images_are_shown(page: Any) -> None:
    ask(page, "red green")
    for name in ("red", "green"):
        page.evaluate(
            "name => document.querySelector(`.tile img[src][alt^='a ${name}']`).closest('.tile').querySelector('.pick').click()",
            name,
        )
        assert page.is_hidden("#prefer") == (name == "red")
    page.click("#prefer")
    page.wait_for_selector("#prefers")
    words = dict(zip(*[iter(page.inner_text("#prefers").split())] * 2, strict=True))
    assert words["red"].startswith("+") and words["green"].startswith("−"), words


def test_back_reload_and_sharing_keep_the_state(page: Any, address: str) -> None:
    page.evaluate(
        "() => (document.querySelector('#words').value = 'red') && document.querySelector('#search').requestSubmit()"
    )
    answered(page)
    page.go_back()
    page.wait_for_selector("#start")
    page.wait_for_selector("body[data-ready]")
    ask(page, "red")
    page.fill("#filter", "name:red-0")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.search.includes('filter=')")
    settle(page)
    shown = names(page)
    page.reload()
    page.wait_for_selector("#likely .tile")
    settle(page)
    assert page.input_value("#words") == "red" and names(page) == shown


def test_mistakes_and_a_lost_server_are_said_and_results_stay(page: Any) -> None:
    ask(page, "red")
    shown = names(page)
    page.fill("#filter", "camra:Canon")
    page.keyboard.press("Enter")
    page.wait_for_selector("#problem:not([hidden])")
    assert "there is no column 'camra'. Did you mean 'camera'?" in page.inner_text("#problem")
    assert names(page) == shown
    page.context.set_offline(True)
    page.fill("#filter", "")
    page.keyboard.press("Enter")
    page.wait_for_selector("body.offline")
    assert "does not answer" in page.inner_text("#problem")
    page.context.set_offline(False)
    ask(page, "blue")
    assert page.is_hidden("#problem")


def test_a_search_goes_on_when_the_model_is_loaded(page: Any) -> None:
    refused = {
        "error": {"message": "the model is still loading.", "type": "not_ready_error", "param": None, "code": "loading"}
    }
    page.route("**/api/search", lambda route: route.fulfill(status=503, json=refused), times=1)
    page.fill("#words", "red")
    page.wait_for_selector("#problem:not([hidden])")
    page.wait_for_selector("#likely .tile")
    assert page.is_hidden("#problem")


def test_nothing_found_is_said(page: Any) -> None:
    page.fill("#words", "red")
    page.fill("#filter", "name:nowhere")
    page.wait_for_function(
        "() => location.search.includes('q=red')"
    )  # the words are searched while the filter is typed
    assert page.input_value("#filter") == "name:nowhere"
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelector('#results h1')?.textContent === 'Nothing here looks like that'"
    )


def test_a_result_is_dragged_into_the_box(page: Any) -> None:
    ask(page, "red")
    dragged = page.get_attribute("#likely .tile >> nth=1", "data-id")
    page.wait_for_function("() => document.querySelectorAll('#likely img')[1].complete")
    places = [page.locator(name).bounding_box() for name in ("#likely .tile >> nth=1", "#search")]
    (x, y), end = [(place["x"] + 40, place["y"] + 20) for place in places]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y - 10, steps=4)
    page.mouse.move(*end, steps=6)
    page.mouse.up()
    page.wait_for_selector(".chip img")
    assert f"t=1%3A%40{dragged}" in page.url


def test_nothing_moves_when_thumbnails_come_and_motion_can_be_reduced(page: Any, address: str) -> None:
    page.goto(f"{address}/?space=base&q=blue")
    page.wait_for_selector("#likely .tile")
    page.wait_for_function("() => [...document.querySelectorAll('#likely img')].some((image) => image.complete)")
    moved = page.evaluate(
        """() => new Promise((done) => {
          let sum = 0;
          new PerformanceObserver((list) => list.getEntries().forEach((one) => (sum += one.hadRecentInput ? 0 : one.value)))
            .observe({ type: "layout-shift", buffered: true });
          setTimeout(() => done(sum), 300);
        })"""
    )
    assert moved < 0.02
    page.evaluate("document.querySelector('#results').classList.add('loading')")
    duration = "getComputedStyle(document.querySelector('#results')).transitionDuration"
    assert page.evaluate(duration) == "0.2s"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(duration) == "0s"


def test_more_results_come_while_one_scrolls_and_all_likely_ones_are_selected(chromium: Any, tmp_path: Path) -> None:
    collect(tmp_path / "many", 300, coarse=90)  # 100 of each colour, and a request has 80 hits
    with running(tmp_path / "many") as address:
        page = chromium.new_page(permissions=["clipboard-read", "clipboard-write"])
        page.goto(f"{address}/?space=base&q=green")
        page.wait_for_selector("#likely .tile")
        assert len(names(page, "#likely .tile img")) == 80
        page.wait_for_function("() => document.querySelector('#status').textContent === '80 of 100 likely'")
        page.keyboard.press("ArrowDown")  # out of the box, where Ctrl-A selects its words
        page.keyboard.press("Control+a")
        page.wait_for_function("() => document.querySelector('#selected').textContent === '100 selected'")
        assert "100 likely images selected, loaded or not" in page.inner_text("#status")
        page.click("[data-act=paths]")
        page.wait_for_function("() => document.querySelector('#status').textContent.includes('copied')")
        assert len(page.evaluate("navigator.clipboard.readText()").splitlines()) == 100
        page.reload()
        page.wait_for_selector("#likely .tile")
        page.mouse.wheel(0, 50_000)
        page.wait_for_function("() => document.querySelectorAll('#likely .tile').length === 100")
        assert page.inner_text("#status").startswith("100 ")
        page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(page: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.emulate_media(color_scheme=theme)

    def check() -> None:
        found = axe.Axe().run(page).response["violations"]
        assert not found, [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found]

    check()
    ask(page, "red")
    page.click("#below")
    check()
    page.keyboard.press("Control+a")
    page.click("#likely .tile a >> nth=0")
    page.wait_for_selector("#detail[open]")
    page.wait_for_timeout(300)
    check()


def test_a_phone_shows_everything_without_overflow(chromium: Any, address: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{address}/?space=base")
    page.wait_for_selector("body[data-ready]")
    ask(page, "red")
    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(wide)
    assert page.locator(".top").bounding_box()["height"] < 140  # the tools beside the brand, the box below
    tiles = [page.locator("#likely .tile").nth(place).bounding_box() for place in (0, 1)]
    assert tiles[0]["x"] == tiles[1]["x"] and tiles[1]["y"] > tiles[0]["y"] and tiles[0]["width"] > 300  # one column

    def small() -> list[str]:
        return page.eval_on_selector_all(
            "button, .button, select, input, .brand, .examples a",
            """all => all.filter((one) => {
              const { width, height } = one.type === "file" ? one.parentElement.getBoundingClientRect() : one.getBoundingClientRect();
              const cut = one.tagName === "BUTTON" && one.scrollWidth > one.clientWidth + 1;
              return one.checkVisibility() && (height < 44 || width < 44 || cut);
            }).map((one) => one.outerHTML)""",
        )

    page.click("#likely .tile >> nth=0 >> .pick")
    assert page.is_visible("#selection") and not small()
    page.click("#likely .tile a >> nth=0")
    page.wait_for_selector("#detail[open]")
    page.click("#why")
    page.wait_for_selector("#heat:not([hidden])")
    assert page.evaluate(wide) and not small()
    before = page.url
    swipe = """() => {
      const at = (x) => [new Touch({ identifier: 1, target: document.querySelector("#detail"), clientX: x, clientY: 200 })];
      const send = (kind, touches) => document.querySelector("#detail").dispatchEvent(new TouchEvent(kind, touches));
      send("touchstart", { touches: at(300) });
      send("touchend", { changedTouches: at(100) });
    }"""
    page.evaluate(swipe)
    page.wait_for_function("before => location.href !== before && location.search.includes('open=')", arg=before)
    context.close()


def test_without_javascript_the_form_still_searches(chromium: Any, address: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/?q=green&space=base")
    assert names(page, "#plain img")[0].startswith("green")
    whole = page.locator("#plain .tile >> nth=0").bounding_box()
    assert whole["width"] / whole["height"] == pytest.approx(1.25, abs=0.01)  # the images have 400 x 320 pixels
    page.goto(f"{address}/?q=green&space=base&filter=camra:1")
    assert "there is no column 'camra'" in page.inner_text("#results h1")
    assert page.locator("noscript button").count() == 1
    assert page.is_visible(".box button") and not any(map(page.is_visible, ("#compare", "#help", ".icon")))
    page.goto(f"{address}/?space=nowhere")
    assert "there is no space 'nowhere'" in page.inner_text("#failure") and page.is_hidden("#space")
    context.close()


def test_a_server_with_keys_shows_a_login(chromium: Any, boards: Path, tmp_path: Path) -> None:
    key = new_key("anna", tmp_path / "keys.txt")
    with running(boards, Rules(Keys.read(tmp_path / "keys.txt"))) as address:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(address)
        page.fill("#key", "wrong")
        page.click(".login button")
        assert "not known" in page.inner_text(".wrong")
        page.fill("#key", key)
        page.click(".login button")
        page.wait_for_selector("body[data-ready]")
        ask(page, "red")
        page.wait_for_function(
            "() => [...document.querySelectorAll('#likely img')].some((image) => image.naturalWidth > 0)"
        )
        context.close()


def test_the_list_of_the_api_is_drawn(page: Any, address: str) -> None:
    page.goto(f"{address}/docs")
    assert "POST /api/search" in page.inner_text("main") and "POST /v1/embeddings" in page.inner_text("main")
