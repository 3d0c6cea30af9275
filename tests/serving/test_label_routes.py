"""Marks: kept on the disk, replaced, removed, and exported as pairs that no text shares between splits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crosscue.data.sources import read_pairs
from crosscue.search.collection import open_collection
from crosscue.search.labels import Label, add_labels, groups, labels_of, remove_label, splits
from crosscue.serving.label_routes import advice_of
from tests.cli import crosscue
from tests.serving.conftest import serving
from tests.serving.encoders import ColourEncoder, OtherEncoder


@pytest.fixture
def marking(painted: Path, tmp_path: Path) -> Iterator[tuple[TestClient, Path]]:
    folder = tmp_path / "boards"
    shutil.copytree(painted, folder)
    with serving(folder) as client:
        yield client, folder


def ids(asking: TestClient, query: str) -> list[str]:
    found = asking.post("/api/search", json={"query": query, "space": "base", "text": "off", "group": False})
    return [hit["id"] for hit in found.json()["hits"]]


def test_a_mark_is_kept_replaced_and_removed(marking: tuple[TestClient, Path]) -> None:
    asking, folder = marking
    image, other = ids(asking, "red")[:2]
    for relevant in (True, False):
        asking.post("/api/labels", json={"text": " red board ", "id": image, "relevant": relevant, "space": "base"})
    asking.post(
        "/api/labels", json={"text": "red board", "id": other, "relevant": True, "space": "base", "note": "it's"}
    )
    kept = {(label.text, label.image, label.relevant) for label in labels_of(open_collection(folder))}
    assert kept == {("red board", image, False), ("red board", other, True)}
    answer = asking.request("DELETE", "/api/labels", json={"text": "red board", "id": image})
    assert answer.status_code == 200
    assert asking.request("DELETE", "/api/labels", json={"text": "red board", "id": image}).status_code == 404
    shown = asking.get("/api/labels").json()["labels"]
    assert [(row["id"], row["note"]) for row in shown] == [(other, "it's")]
    assert asking.get("/api/labels?format=csv").text.splitlines()[0] == "text,id,relevant,space,note"
    assert json.loads(asking.get("/api/labels?format=jsonl").text)["text"] == "red board"


def test_a_text_that_no_source_of_pairs_holds_is_not_marked(marking: tuple[TestClient, Path]) -> None:
    asking, folder = marking
    body = {"text": "red\0board", "id": ids(asking, "red")[0], "relevant": True}
    for path, sent in (("/api/labels", body), ("/api/labels/next", {"texts": ["red", "red\0board"]})):
        answer = asking.post(path, json=sent)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_text")
    assert not labels_of(open_collection(folder))


def test_files_of_marks_are_forced_to_the_disk_and_joined(
    marking: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = open_collection(marking[1])
    forced: list[str] = []
    monkeypatch.setattr("crosscue.search.writing.force", forced.append)
    monkeypatch.setattr("crosscue.search.labels.MOST_FRAGMENTS", 3)
    for number in range(6):
        forced.clear()
        add_labels(collection, [Label(f"text {number}", "image", True)])
        assert any("/data/" in path for path in forced) and any("/_versions/" in path for path in forced)
    table = collection.connection.open_table("_labels")
    assert table.stats()["fragment_stats"]["num_fragments"] <= 4 and table.count_rows() == 6


def test_unknown_images_and_empty_texts_are_refused(marking: tuple[TestClient, Path]) -> None:
    asking, _ = marking
    for body, status in (({"text": "red", "id": "0" * 20}, 404), ({"text": "  ", "id": ids(asking, "red")[0]}, 422)):
        answer = asking.post("/api/labels", json={**body, "relevant": True, "space": "base"})
        assert answer.status_code == status


def test_texts_that_share_a_right_image_are_in_one_split() -> None:
    labels = [Label(f"text {number}", f"image {number}", True) for number in range(200)]
    labels += [Label("text 3", "image 4", True), Label("text 4", "image 5", True), Label("text 9", "image 7", False)]
    assert {frozenset(part) for part in groups(labels) if len(part) > 1} == {frozenset({"text 3", "text 4", "text 5"})}
    found = splits(labels)
    sizes = {split: list(found.values()).count(split) for split in ("train", "val", "test")}
    assert abs(sizes["test"] - 60) <= 2 and abs(sizes["val"] - 30) <= 2 and sum(sizes.values()) == 200
    assert found["text 3"] == found["text 4"] == found["text 5"]
    more = splits([*labels, Label("text 200", "image 200", True)])
    assert sum(found[text] != more[text] for text in found) <= 5
    few = list(splits(labels[10:50]).values())  # half is held out, so that the gain can be known
    assert (few.count("test"), few.count("train")) == (20, 20)


def test_marks_become_pairs_that_can_be_read(marking: tuple[TestClient, Path], tmp_path: Path) -> None:
    asking, folder = marking
    collection = open_collection(folder)
    red, green = ids(asking, "red"), ids(asking, "green")
    labels = [Label(f"red one {number}", image, True) for number, image in enumerate(red[:15])]
    labels += [Label(f"green one {number}", image, True) for number, image in enumerate(green[:15])]
    labels += [Label("red one 0", green[0], False), Label("gone", "f" * 20, True)]
    add_labels(collection, labels)
    done = crosscue("labels", folder, "--out", tmp_path / "pairs.jsonl")
    assert done.returncode == 0 and "1 marks are of images that the collection no longer has" in done.stdout
    assert "Below 20 held-out texts the gain of training cannot be known" in done.stdout
    pairs = read_pairs(str(tmp_path / "pairs.jsonl"))
    assert len(pairs) == 30 and {pair.split for pair in pairs} == {"train", "test"}
    split_of = splits(labels)
    assert all(split_of[caption] == pair.split for pair in pairs for caption in pair.captions)
    wrong = [pair for pair in pairs if pair.negatives]
    assert len(wrong) == (split_of["red one 0"] == split_of["green one 0"])
    advice = asking.get("/api/labels/advice").json()
    assert advice_of(1, 0).startswith("1 text has a right image.") and advice_of(2, 1).startswith("2 texts have ")
    assert advice["texts"] == 31 and "below 20 held-out texts its gain cannot be known" in advice["advice"]
    adapts = "crosscue adapt --data pairs.jsonl --out runs/marked --image_size 32 --backbone colours"
    assert adapts in advice["commands"]  # the gain is then that of training alone


def test_texts_to_mark_next_are_those_of_the_command(
    marking: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asking, folder = marking
    texts = ["red", "thing", "red blue", "marked"]
    add_labels(open_collection(folder), [Label("marked", ids(asking, "red")[0], True)])
    found = asking.post("/api/labels/next", json={"texts": texts, "space": "other", "k": 3}).json()["texts"]
    possible = [one["possible"] for one in found]
    assert {one["text"] for one in found} == {"red", "thing", "red blue"} and possible == sorted(possible, reverse=True)
    monkeypatch.setattr("crosscue.opening.collections.encoder_of", lambda identity: OtherEncoder())
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    lines = crosscue("labels", folder, "--next", tmp_path / "texts.txt", "--top", 2).stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[f"{one['possible']:.1f}", one["text"]] for one in found[:2]]
    missing = crosscue("labels", folder, "--next", tmp_path / "none.txt")
    assert missing.returncode == 2 and "there is no such file. Write texts into it, one a line." in missing.stderr


def test_no_marks_give_one_line(painted: Path) -> None:
    done = crosscue("labels", painted)
    assert done.returncode == 2 and "no image is marked as right" in done.stderr and "Traceback" not in done.stderr
    assert remove_label(open_collection(painted), "red", "f" * 20) is False


def test_the_gain_is_that_of_the_command(marking: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asking, folder = marking
    collection = open_collection(folder)
    refusal = asking.get("/api/labels/gain?before=base&after=other")
    assert refusal.status_code == 422 and "no held-out text has a right image" in refusal.json()["error"]["message"]
    green, blue = ids(asking, "green")[:10], ids(asking, "blue")[:10]
    right = zip(
        ["green", "blue"] * 10, [image for pair in zip(green, blue, strict=True) for image in pair], strict=True
    )
    add_labels(collection, [Label(f"{colour} {number}", image, True) for number, (colour, image) in enumerate(right)])
    found = asking.get("/api/labels/gain?before=base&after=other").json()
    assert len(found["texts"]) == 10 and not found["known"] and found["difference"]["mean"] < 0
    assert all(text["after"] == 0 for text in found["texts"])  # `other` takes blue for green
    monkeypatch.setattr(
        "crosscue.opening.collections.encoder_of",
        lambda identity: {"0": ColourEncoder, "1": OtherEncoder}[identity.run[0]](),
    )
    done = crosscue("labels", folder, "--gain", "other")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == found["verdict"]
    assert len(done.stdout.splitlines()) == 11 and "0.0  green" in done.stdout
    unknown = crosscue("labels", folder, "--gain", "othr")
    assert unknown.returncode == 2 and "Did you mean 'other'?" in unknown.stderr
