"""Three views of each training image: from a model on a real socket, from captions, and in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crosscue.cli import dispatch
from crosscue.errors import DataError
from crosscue.knowledge.views.from_captions import UNREAD, caption_views, unread_views
from crosscue.knowledge.views.record import ViewKnowledge, Views
from tests.knowledge.conftest import Serve, draw
from tests.knowledge.server import COLOURS, Received, Scripted, colour_of

CAPTION = "A dog is running on the grass near a fence."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training images, one of them there twice, and two test images."""
    folder = tmp_path_factory.mktemp("views")
    rows = []
    for number in range(8):
        width = 60 if number == 1 else 60 + number  # 0 and 1 have the same bytes
        draw(folder / f"{number}.jpg", list(COLOURS)[number % 4 if number != 1 else 0], width)
        split = "train" if number < 6 else "test"
        rows.append(
            json.dumps({"image": f"{number}.jpg", "image_id": f"p{number}", "caption": CAPTION, "split": split})
        )
    (folder / "pairs.jsonl").write_text("\n".join(rows))
    return folder / "pairs.jsonl"


def look(received: Received, number: int) -> str:
    """Sees colour and width, as a model sees a scene."""
    (image,) = received.images()
    colour = colour_of(image)
    views = {"global": f"a {colour} scene", "background": f"{colour}  wall\n", "entity": f"{image.width} stones"}
    return json.dumps(views)


def describe(source: Path, out: Path, script: Scripted | None, *more: object) -> int:
    server = ["--model.base_url", script.url, "--model.model", "vl", "--model.retries", 1] if script is not None else []
    return dispatch(["describe", "views", str(source), "--out", *map(str, (out, *server, *more))])


def test_training_images_once_each(
    source: Path, tmp_path: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    script = serve(look)
    assert describe(source, tmp_path, script) == 0
    views = ViewKnowledge.load(tmp_path)
    assert list(views) == [f"p{number}" for number in range(6)]
    assert views["p2"] == Views("a blue scene", "blue wall", "62 stones", "vl")
    assert len(script.log) == 5 and views["p0"] == views["p1"]
    assert all(
        question in script.log[0].question
        for question in (
            "What does this image describe from a global perspective?",
            "What information is depicted in the background of this image?",
            "What entities are present in this image?",
            "limited to 30 words",
        )
    )
    assert "dog" not in json.dumps(script.log[0].body["messages"][-1]["content"][-1]), "captions are not shown"
    assert describe(source, tmp_path, script) == 0 and len(script.log) == 5
    assert describe(source, tmp_path, script, "--split", "all") == 0 and len(script.log) == 7
    assert len(ViewKnowledge.load(tmp_path)) == 8
    assert "views of 8 images, 8 by vl" in capsys.readouterr().out


@pytest.mark.parametrize(
    "reply",
    [
        '{"global": "a", "background": "b", "entry": "c"}',
        '{"global": "a", "background": "b"}',
        '{"global": "a", "background": "b", "entity": "c", "mood": "d"}',
        '{"global": "a", "background": "b", "entity": " "}',
        "I'm sorry, but I can't help with that.",
    ],
)
def test_replies_of_another_form_are_requested_once_more_then_left_to_the_captions(
    source: Path, tmp_path: Path, serve: Serve, reply: str
) -> None:
    def answer(received: Received, number: int) -> Any:
        return reply if colour_of(image_of(received)) == "red" else look(received, number)

    script = serve(answer)
    assert describe(source, tmp_path, script) == 0
    views = ViewKnowledge.load(tmp_path)
    sources = {identity: each.source for identity, each in views.items()}
    assert sources == {"p0": UNREAD, "p1": UNREAD, "p2": "vl", "p3": "vl", "p4": UNREAD, "p5": "vl"}
    assert views["p0"] == unread_views([CAPTION])
    again = sum("cannot be used" in received.question for received in script.log)
    assert again == (0 if "sorry" in reply else 2)


def image_of(received: Received) -> Any:
    return received.images()[0]


def test_views_from_captions(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    views, german = caption_views(
        {"a": [CAPTION, "Two boys wearing red hats watch it."], "b": ["Ein Hund läuft im Gras."]}
    ).values()
    assert views.source == "captions"
    assert views.overall == f"{CAPTION} Two boys wearing red hats watch it."
    assert views.background == "grass, fence"
    assert views.entity == "dog, boys, hats"
    assert (german.background, german.entity) == ("Ein Hund läuft im Gras.",) * 2
    assert (views.repeated, german.repeated) == ((), ("background", "entity"))
    (tmp_path / "words.jsonl").write_text(json.dumps({"image": "gone.jpg", "caption": CAPTION}))
    assert describe(tmp_path / "words.jsonl", tmp_path / "v.jsonl", None, "--backend", "captions") == 0
    assert dict(ViewKnowledge.load(tmp_path / "v.jsonl")) == caption_views({"gone.jpg": [CAPTION]})
    assert "the first caption" not in capsys.readouterr().out
    (tmp_path / "words.jsonl").write_text(json.dumps({"image": "gone.jpg", "caption": "Dogs."}))
    assert describe(tmp_path / "words.jsonl", tmp_path / "v.jsonl", None, "--backend", "captions") == 0
    assert "background: spaCy found nothing for 1 images, so the view is their first caption" in capsys.readouterr().out
    assert json.loads((tmp_path / "v.jsonl").read_text().splitlines()[-1])["repeated"][0] == "background"
    assert ViewKnowledge.load(tmp_path / "v.jsonl").repeated()["background"] == 1


def test_a_source_without_a_train_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"image": "a.jpg", "caption": CAPTION, "split": "test"}))
    assert describe(tmp_path / "p.jsonl", tmp_path / "v.jsonl", None, "--backend", "captions") == 2
    assert "there is no split 'train' but test" in capsys.readouterr().err


def test_round_trip_and_require(tmp_path: Path) -> None:
    views = ViewKnowledge({"a": Views("x", "y", "z", "vl"), "b": Views("1", "2", "3", "captions")})
    views.save(tmp_path / "views.jsonl")
    row = json.loads((tmp_path / "views.jsonl").read_text().splitlines()[0])
    assert row["views"] == {"global": "x", "background": "y", "entity": "z"}
    loaded = ViewKnowledge.load(tmp_path)
    assert dict(loaded) == dict(views) and loaded.fingerprint() == views.fingerprint()
    loaded.require(["a", "b", "a"])
    with pytest.raises(DataError, match=r"2 of 3 images have no views, e.g. 'c'. Make it: crosscue describe views"):
        loaded.require(["a", "c", "d"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image_id": "a", "source": "s", "views": {"global": "x", "background": "y", "entry": "z"}}, "found global, background, entry"),
        ({"image_id": "a", "source": "s", "views": {"global": "x", "background": "y"}}, "exactly the keys global, background, entity"),
        ({"image_id": "a", "source": "s", "views": {"global": "x", "background": "y", "entity": "z", "more": ""}}, "exactly the keys"),
        ({"image_id": "a", "source": "s", "views": {"global": "x", "background": " ", "entity": "z"}}, "'background' is empty"),
        ({"image_id": "a", "source": "s", "views": {"global": "x", "background": 3, "entity": "z"}}, "'background' is empty"),
        ({"image_id": "a", "views": {"global": "x", "background": "y", "entity": "z"}}, "needs image_id, views and source"),
        ({"image_id": "a", "source": "s"}, "found none"),
    ],
)  # fmt: skip
def test_files_of_another_form(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    good = {"image_id": "b", "source": "s", "views": {"global": "x", "background": "y", "entity": "z"}}
    (tmp_path / "v.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(row))
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        ViewKnowledge.load(tmp_path / "v.jsonl")
