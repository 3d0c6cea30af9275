"""Images over HTTP: thumbnails that are kept as long as their file stays as it is, parts of files, and requests for headers alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from crosscue.serving.holdings import Holdings
from crosscue.serving.page_routes import PAGE
from tests.serving.conftest import serving


def first(asking: TestClient) -> dict[str, Any]:
    answer = asking.post("/api/search", json={"query": "red", "text": "off", "space": "base"})
    return dict(answer.json()["hits"][0])


def test_a_thumbnail_is_kept_forever_under_the_content_of_its_file(asking: TestClient) -> None:
    hit = first(asking)
    named = asking.get(f"/thumbs/{hit['id']}?space=base&content={hit['content']}")
    plain = asking.get(f"/thumbs/{hit['id']}?space=base")
    assert named.content == plain.content and "immutable" in named.headers["cache-control"]
    assert plain.headers["cache-control"] == "private, no-cache"
    old = asking.get(f"/thumbs/{hit['id']}?space=base&content={'0' * 64}")
    assert old.content == plain.content and old.headers["cache-control"] == "private, no-cache"
    for wrong in ("../../collection.json", "zz", ""):
        assert asking.get(f"/thumbs/{hit['id']}", params={"content": wrong}).content == plain.content
    assert asking.get(f"/thumbs/zz?content={hit['content']}").status_code == 404


def test_thumbnails_of_hits_are_read_without_their_rows(asking: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    hit = first(asking)
    monkeypatch.setattr(Holdings, "row", lambda *_: pytest.fail("a row was read"))
    for url in ("/?q=red&space=base", f"/thumbs/{hit['id']}?space=base&content={hit['content']}"):
        assert asking.get(url).status_code == 200
    assert f"&amp;content={hit['content']}" in asking.get("/?q=red&space=base").text


def test_a_thumbnail_whose_file_is_lost_is_made_again(painted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(painted, tmp_path / "boards")
    made = folder / ".crosscue" / "collection.json"
    made.write_text(made.read_text().replace(str(painted), str(folder)))
    with serving(folder) as asking:
        hit = first(asking)
        shutil.rmtree(folder / ".crosscue" / "thumbs")
        answer = asking.get(f"/thumbs/{hit['id']}?space=base&content={hit['content']}")
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-7", (206, None)),
        ("bytes=-7", (206, None)),
        ("bytes=5-", (206, None)),
        ("bytes=0-1, 4-5", (206, None)),
        ("bytes=a-b", (400, "bad_range")),
        ("lines=0-7", (400, "bad_range")),
        ("bytes=", (400, "bad_range")),
        ("bytes=7-5", (400, "bad_range")),
        ("bytes=99999999-", (416, "outside_file")),
        ("bytes=-0", (416, "outside_file")),
    ],
)
def test_parts_of_files_are_refused_in_our_shape(
    asking: TestClient, asked: str, expected: tuple[int, str | None]
) -> None:
    answer = asking.get(f"/api/images/{first(asking)['id']}/file", headers={"range": asked})
    assert answer.status_code == expected[0]
    if expected[1]:
        assert answer.json()["error"]["code"] == expected[1]
    if answer.status_code == 416:
        assert answer.headers["content-range"].startswith("bytes */")


def test_headers_are_answered_alone(asking: TestClient) -> None:
    for path in ("/", "/healthz", f"/thumbs/{first(asking)['id']}", "/page/main.js"):
        assert asking.head(path).status_code == 200, path
    assert asking.head("/api/search").status_code == 405 and asking.head("/nowhere").status_code == 404


def test_scripts_are_asked_for_at_once_and_not_sent_again(asking: TestClient) -> None:
    page = asking.get("/").text
    scripts = [file.name for file in PAGE.glob("*.js")]
    assert len(scripts) > 10
    for name in scripts:
        assert f'<link rel="modulepreload" href="/page/{name}">' in page
        sent = asking.get(f"/page/{name}")
        assert sent.headers["content-type"].startswith("text/javascript")
        assert asking.get(f"/page/{name}", headers={"if-none-match": sent.headers["etag"]}).status_code == 304
