"""Search over HTTP on a real collection: queries, filters, pages of results, comparison, reasons, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow

from crosscue.errors import OptionError
from crosscue.search.collection import open_collection
from crosscue.serving.holdings import Holdings
from tests.serving.conftest import serving
from tests.serving.encoders import COLOURS, data_url


def hits(asking: TestClient, query: Any, **body: Any) -> list[dict[str, Any]]:
    answer = asking.post("/api/search", json={"query": query, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


def refused(asking: TestClient, path: str, **body: Any) -> tuple[int, str, str]:
    answer = asking.post(path, json=body)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def first(asking: TestClient, colour: str = "red") -> dict[str, Any]:
    return hits(asking, colour, text="off", space="base")[0]


def test_words_find_images_of_their_colour_and_the_line_ends_there(asking: TestClient) -> None:
    answer = asking.post(
        "/api/search", json={"query": "green", "space": "base", "text": "off", "k": 60, "group": False}
    ).json()
    likely = [hit for hit in answer["hits"] if hit["likely"]]
    assert answer["images"] == 60 and answer["likely_count"] == len(likely)
    assert {hit["name"].split("-")[0] for hit in answer["hits"][:20]} == {"green"}
    assert answer["background"]["threshold"] > answer["background"]["mean"]


def test_images_words_and_stored_images_mix_with_weights(asking: TestClient) -> None:
    red = first(asking)
    for query in (
        [{"image": data_url(COLOURS["red"])}],
        [{"id": red["id"]}],
        [{"weight": 2, "text": "red"}, {"weight": -0.5, "text": "green"}],
        [{"weight": 0.2, "text": "blue"}, {"weight": 3, "image": data_url(COLOURS["red"])}],
    ):
        assert hits(asking, query, space="base")[0]["name"].startswith("red"), query


def test_pages_of_results_follow_each_other(asking: TestClient) -> None:
    whole = hits(asking, "red", space="base", text="off", k=12, group=False)
    parts = [hits(asking, "red", space="base", text="off", k=6, offset=offset, group=False) for offset in (0, 6)]
    assert [hit["id"] for part in parts for hit in part] == [hit["id"] for hit in whole]


def test_all_likely_images_are_named_however_many(asking: TestClient, painted: Path) -> None:
    for query in ([{"id": first(asking)["id"]}], "red", "green board"):
        every = hits(asking, query, space="base", k=60, group=False)
        answer = asking.post("/api/likely", json={"query": query, "space": "base"}).json()
        wanted = {hit["id"]: hit["path"] for hit in every if hit["likely"]}
        assert answer["count"] == len(wanted) > 0
        assert {one["id"]: one["path"] for one in answer["images"]} == wanted
    few = asking.post("/api/likely", json={"query": "green", "space": "base", "filter": "name:green-0"}).json()
    assert few["count"] == 3 and few["images"][0]["path"].startswith(f"{painted}/green-0")
    named = asking.post("/api/likely", json={"query": "green board number 7", "space": "base"}).json()
    assert any(one["path"].endswith("green-07.png") for one in named["images"])
    assert refused(asking, "/api/likely", query=" ")[:2] == (422, "empty_query")


def test_damaged_files_are_refused_without_a_path(
    painted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "boards"
    shutil.copytree(painted, folder)
    made = folder / ".crosscue" / "collection.json"
    made.write_text(made.read_text().replace(str(painted), str(folder)))
    with serving(folder, absolute=False) as asking:
        hit = first(asking)
        path = folder / hit["name"]
        path.write_bytes(path.read_bytes()[:300])
        shutil.rmtree(folder / ".crosscue" / "thumbs")
        body = {"id": hit["id"], "text": "red", "space": "base"}
        for answer in (asking.post("/api/why", json=body), asking.get(f"/thumbs/{hit['id']}?space=base")):
            assert answer.status_code == 415 and "the file of this image is damaged" in answer.text
        url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        assert refused(asking, "/api/search", query=[{"image": url}])[2].endswith(
            "damaged or truncated. Fetch it again or remove it."
        )
        for part in (folder / ".crosscue" / "tables" / "base.lance" / "data").iterdir():
            part.write_bytes(b"")
        caplog.clear()
        page = asking.get("/?space=base")
        assert page.status_code == 410 and "The log of the server says why" in page.text and "<h1>" in page.text
        assert "a collection cannot be read" in caplog.text and str(folder) not in page.text


def test_two_collections_of_one_name_are_refused(painted: Path, tmp_path: Path) -> None:
    shutil.copytree(painted / ".crosscue", tmp_path / painted.name / ".crosscue")
    with pytest.raises(OptionError, match="two collections have one name: boards, boards"):
        Holdings([painted, tmp_path / painted.name])


def test_no_name_of_a_file_of_the_page_is_a_fault(asking: TestClient) -> None:
    for name in ("a" * 5000 + ".js", "%00.js", "index.html.j2", "..%2fapp.py"):
        assert asking.get(f"/page/{name}").status_code == 404, name[:20]


def test_filters_and_copies(asking: TestClient) -> None:
    found = hits(asking, "red", space="base", filter="name:red-0", k=20)
    assert {hit["name"] for hit in found} <= {"red-00.png", "red-03.png", "red-06.png", "red-09.png"}
    assert any(len(hit["copies"]) == 1 for hit in found)


def test_two_models_are_compared(asking: TestClient) -> None:
    answer = asking.post("/api/compare", json={"query": "green", "spaces": ["base", "other"], "k": 20}).json()
    base, other = (side["hits"] for side in answer["spaces"])
    assert base[0]["name"].startswith("green") and other[0]["name"].startswith("blue")
    ids = [hit["id"] for hit in other]
    assert all(hit["other_rank"] == (ids.index(hit["id"]) + 1 if hit["id"] in ids else None) for hit in base)


def test_similar_images_leave_the_image_out(asking: TestClient) -> None:
    red = first(asking)
    found = asking.get(f"/api/images/{red['id']}/similar?space=base&k=5").json()["hits"]
    assert len(found) == 5 and red["id"] not in [hit["id"] for hit in found]
    assert all(hit["name"].startswith("red") for hit in found)


def test_why_without_direct_effects_greys_cells(asking: TestClient) -> None:
    answer = asking.post("/api/why", json={"id": first(asking)["id"], "text": "red board", "space": "base"}).json()
    assert answer["kind"] == "occlusion" and np.array(answer["places"]).shape == (4, 4)
    assert [word for word, _ in answer["words"]] == ["red", "board"] and answer["words"][0][1] > 0.3


def test_records_files_and_thumbnails(asking: TestClient, painted: Path) -> None:
    hit = first(asking)
    record = asking.get(f"/api/images/{hit['id']}?space=base").json()
    assert record["path"] == str(painted / hit["name"]) and record["width"] == 400 and "vector" not in record
    assert asking.get(f"/api/images/{hit['id']}/file").content == (painted / hit["name"]).read_bytes()
    part = asking.get(f"/api/images/{hit['id']}/file", headers={"range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, (painted / hit["name"]).read_bytes()[:8])
    small = asking.get(f"/thumbs/{hit['id']}?content={hit['content']}")
    assert Pillow.open(io.BytesIO(small.content)).format == "WEBP" and "immutable" in small.headers["cache-control"]
    again = asking.get(
        f"/thumbs/{hit['id']}?content={hit['content']}", headers={"if-none-match": small.headers["etag"]}
    )
    assert again.status_code == 304


def test_images_are_downloaded_in_one_archive(asking: TestClient, painted: Path) -> None:
    chosen = hits(asking, "red", space="base", text="off", k=3, group=False)
    answer = asking.post("/api/zip", data={"ids": ",".join(hit["id"] for hit in chosen), "space": "base"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert sorted(made.namelist()) == sorted(hit["name"] for hit in chosen)
        assert made.read(chosen[0]["name"]) == (painted / chosen[0]["name"]).read_bytes()
    assert made.testzip() is None if made.fp else True


def test_other_machines_see_no_absolute_paths(painted: Path) -> None:
    with serving(painted, absolute=False) as asking:
        hit = hits(asking, "red", space="base")[0]
        assert hit["path"] == hit["name"] and str(painted) not in asking.get("/?q=red").text
        record = asking.get(f"/api/images/{hit['id']}").json()
        assert record["path"] == hit["name"]
        assert asking.post("/api/collections/boards/refresh", json={}).status_code == 403


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": " "}, (422, "empty_query", "say what to look for: words, or an image.")),
        ({"query": []}, (422, "empty_query", "say what to look for: words, or an image.")),
        ({"query": [{"weight": 1}]}, (422, "bad_term", "each term of query needs one of text, image and id.")),
        ({"query": [{"text": "red"}, {"weight": -1, "text": "red"}]}, (422, "zero_query", "the terms cancel out.")),
        (
            {"query": "red", "filter": "camra:Canon"},
            (422, "OptionError", "there is no column 'camra'. Did you mean 'camera'?"),
        ),
        ({"query": "red", "filter": "taken:2024-13"}, (422, "OptionError", "taken: '2024-13' is no date")),
        ({"query": "red", "space": "bas"}, (404, "unknown_space", "there is no space 'bas'. Did you mean 'base'?")),
        ({"query": "red", "k": 0}, (422, "invalid_parameter", "k must be at least 1.")),
        ({"query": "red", "k": 501}, (422, "invalid_parameter", "k must be at most 500.")),
        ({"query": "red", "rerank": "pairs"}, (422, "no_rerank", "this model has no re-ranking")),
        ({"query": [{"id": "zz"}]}, (404, "unknown_image", "there is no such image.")),
        ({"query": [{"id": "' OR 1=1 --"}]}, (404, "unknown_image", "there is no such image.")),
        ({"query": [{"image": "http://localhost/x.png"}]}, (400, "url_not_taken", "only data: URLs are taken")),
        ({"query": [{"image": "data:image/png;base64,aGVsbG8="}]}, (415, "DataError", "the image of the request")),
        ({}, (422, "invalid_parameter", "query is missing.")),
    ],
)
def test_refusals(asking: TestClient, body: dict[str, Any], expected: tuple[int, str, str]) -> None:
    status, code, message = refused(asking, "/api/search", **body)
    assert (status, code) == expected[:2] and message.startswith(expected[2])


def test_vanished_files_and_links_out_of_the_root_are_404(painted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "boards"
    shutil.copytree(painted, folder)
    with serving(folder) as asking:
        red = hits(asking, "red", space="base", text="off")
        (folder / red[0]["name"]).unlink()
        (folder / red[1]["name"]).unlink()
        secret = tmp_path / "secret.png"
        secret.write_bytes(b"secret")
        (folder / red[1]["name"]).symlink_to(secret)
        for hit in red[:2]:
            answer = asking.get(f"/api/images/{hit['id']}/file")
            assert (answer.status_code, answer.json()["error"]["message"]) == (404, "there is no such image.")


def test_a_deleted_collection_is_410_and_works_again_when_it_is_back(painted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "boards"
    shutil.copytree(painted, folder)
    with serving(folder) as asking:
        assert hits(asking, "red", space="base")
        (folder / ".crosscue").rename(tmp_path / "away")
        answer = asking.post("/api/search", json={"query": "red"})
        assert answer.status_code == 410 and str(tmp_path) not in answer.text
        assert asking.get("/healthz").status_code == 200
        (tmp_path / "away").rename(folder / ".crosscue")
        assert hits(asking, "red", space="base")


def test_hostile_bodies_never_make_a_fault_of_ours(asking: TestClient) -> None:
    draw = np.random.default_rng(5)
    parts: list[Any] = [
        None,
        True,
        -1,
        1e308,
        "red",
        "\x00",
        "\ud800",
        "' OR '1'='1",
        "a" * 5000,
        [],
        {},
        ["red"],
        {"text": "red"},
    ]
    names = [
        "query",
        "filter",
        "space",
        "k",
        "offset",
        "text",
        "rerank",
        "sort",
        "normalise",
        "input",
        "id",
        "relevant",
    ]
    paths = ["/api/search", "/api/compare", "/api/why", "/api/labels", "/v1/embeddings", "/v1/rerank"]
    for _ in range(1000):
        body = {str(name): parts[draw.integers(len(parts))] for name in draw.choice(names, 4)}
        if draw.random() < 0.5:
            body["query"] = [{"text": parts[draw.integers(len(parts))], "weight": parts[draw.integers(4)]}]
        content = json.dumps(body).encode()
        if draw.random() < 0.3:
            content = content[: draw.integers(len(content))]
        answer = asking.post(
            paths[draw.integers(len(paths))], content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code < 500, (body, answer.text)
        assert "error" in answer.json() or answer.status_code == 200


def test_the_list_of_the_api_names_every_route(asking: TestClient) -> None:
    shown = asking.get("/docs").text
    for path in asking.get("/openapi.json").json()["paths"]:
        assert path in shown


def test_why_prefers_the_words_that_speak_for_one_of_two_images(asking: TestClient) -> None:
    red, blue = (hits(asking, colour, space="base", text="off")[0]["id"] for colour in ("red", "blue"))
    body = {"id": red, "than": blue, "text": "red blue", "space": "base"}
    assert asking.post("/api/why", json={**body, "than": None}).json()["prefers"] is None
    (one, for_red), (other, for_blue) = asking.post("/api/why", json=body).json()["prefers"]
    assert (one, other) == ("red", "blue") and for_red > 0.1 and for_blue < -0.1
    assert asking.post("/api/why", json={**body, "than": "0" * 20}).status_code == 404


def test_the_stages_of_a_search_are_in_its_answer_and_in_the_metrics(asking: TestClient) -> None:
    took = asking.post("/api/search", json={"query": "green", "space": "base"}).json()["took_ms"]
    assert set(took) == {"encode", "search", "rest"} and all(value >= 0 for value in took.values())
    lines = asking.get("/metrics").text
    assert all(
        f'crosscue_seconds_count{{route="/api/search",stage="{stage}"}}' in lines for stage in ("encode", "search")
    )


def test_metrics_count_images_and_rows_that_no_index_has_yet(painted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "boards"
    shutil.copytree(painted, folder)
    with serving(folder) as asking:
        lines = asking.get("/metrics").text.splitlines()
        assert 'crosscue_images{space="base"} 60.0' in lines and 'crosscue_unindexed_rows{space="base"} 0.0' in lines
        table = open_collection(folder).table("base")
        rows = table.search().limit(2).to_arrow()
        late = pa.array(["f" * 20, "e" * 20])
        table.add(
            rows.select(table.schema.names).set_column(rows.schema.get_field_index("id"), rows.schema.field("id"), late)
        )
        until = time.monotonic() + 20
        while 'crosscue_images{space="base"} 62.0' not in (text := asking.get("/metrics").text):
            assert time.monotonic() < until, text
        assert 'crosscue_unindexed_rows{space="base"} 2.0' in text and 'crosscue_images{space="other"} 60.0' in text
        (space, *_) = asking.get("/api/collections").json()["collections"][0]["spaces"]
        assert (space["name"], space["images"], space["unindexed"]) == ("base", 62, 2)
        shutil.move(folder, tmp_path / "away")
        assert 'crosscue_images{space="base"} 62.0' in asking.get("/metrics").text
