"""The identity of an image: equal for the rows of one image, different for two, whatever reads them."""

from __future__ import annotations

import csv
import json
import tempfile
from collections import defaultdict
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from crosscue.data.pairs import Pairs
from crosscue.data.sources import Reading, read_pairs
from tests.images import draw_noise

Rows = list[tuple[int, str]]
"""Number of an image, and a caption."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(5):
        draw_noise(folder / f"{number}.png", number, 6, 6)
    return folder


def captions_of(pairs: Pairs) -> dict[bytes, list[str]]:
    """The captions of each image, by its bytes; an image that is there twice fails."""
    found = {pair.image.read(): sorted(pair.captions) for pair in pairs}
    assert len(found) == len(pairs) == len({pair.image_id for pair in pairs})
    return found


def written(form: str, rows: Rows, folder: Path, images: Path) -> Path:
    """Writes rows in one form and returns the source."""
    paths = [str(images / f"{number}.png") for number, _ in rows]
    texts = [text for _, text in rows]
    contents = [Path(path).read_bytes() for path in paths]
    if form in ("csv", "tsv"):
        with (folder / f"t.{form}").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t" if form == "tsv" else ",")
            table.writerows([("id", "image", "caption"), *zip(range(len(rows)), paths, texts, strict=True)])
    elif form == "jsonl":
        lines = (json.dumps({"image": path, "text": text}) for path, text in zip(paths, texts, strict=True))
        (folder / "t.jsonl").write_text("\n".join(lines))
    elif form == "json":
        joined = defaultdict(list)
        for path, text in zip(paths, texts, strict=True):
            joined[path].append(text)
        records = [{"file_name": path, "captions": found} for path, found in joined.items()]
        (folder / "t.json").write_text(json.dumps(records))
    elif form == "parquet":
        parquet.write_table(pyarrow.table({"image": paths, "text": texts}), folder / "t.parquet")
    elif form == "embedded":
        parquet.write_table(pyarrow.table({"image": contents, "text": texts}), folder / "t.embedded")
    elif form == "cells":
        cells = [{"bytes": content, "path": "image.png"} for content in contents]
        parquet.write_table(pyarrow.table({"image": cells, "text": texts}), folder / "t.cells")
    elif form == "datasets":
        import datasets

        table = datasets.Dataset.from_dict({"image": paths, "text": texts}).cast_column("image", datasets.Image())
        table.save_to_disk(folder / "t.datasets")
    else:
        (folder / "t.folder").mkdir()
        for path, text in zip(map(Path, paths), texts, strict=True):
            (folder / "t.folder" / path.name).write_bytes(path.read_bytes())
            with (folder / "t.folder" / path.name).with_suffix(".txt").open("a", encoding="utf-8") as file:
                file.write(text + "\n")
    return folder / f"t.{form}"


KINDS = {"embedded": "parquet", "cells": "parquet"}
FORMS = ("csv", "tsv", "json", "parquet", "embedded", "cells", "datasets", "folder")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.from_regex(r"[a-zé][a-zé ,;'\"]{0,12}[a-z]", fullmatch=True)),
        min_size=1,
        max_size=8,
    )
)
def test_the_same_rows_are_the_same_pairs_through_every_reader(drawn: Path, rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        first = captions_of(read_pairs(written("jsonl", rows, folder, drawn)))
        assert sorted(text for texts in first.values() for text in texts) == sorted(text for _, text in rows)
        for form in FORMS:
            source = written(form, rows, folder, drawn)
            assert captions_of(read_pairs(source, reading=Reading(kind=KINDS.get(form, "auto")))) == first, form


def listing(folder: Path, *lines: str) -> Path:
    (folder / "t.csv").write_text("\n".join(lines))
    return folder / "t.csv"


def test_an_id_of_rows_is_no_image_id(draw_image, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image("a.jpg"), draw_image("b.jpg")
    rows = [f"{row},{name}.jpg,{name} {row}" for row, name in enumerate("aabb")]
    pairs = read_pairs(listing(tmp_path, "id,image,caption", *rows))
    assert [(pair.image_id, pair.captions) for pair in pairs] == [("a.jpg", ("a 0", "a 1")), ("b.jpg", ("b 2", "b 3"))]
    assert "a.jpg (" in (said := capsys.readouterr().err)
    assert "has several), so paths are the ids" in said


def test_one_id_for_two_images_does_not_merge_them(
    draw_image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        draw_image(f"{name}.jpg")
    pairs = read_pairs(listing(tmp_path, "image_id,image,caption", "0,a.jpg,one", "1,b.jpg,two", "0,c.jpg,three"))
    assert [pair.image_id for pair in pairs] == ["a.jpg", "b.jpg", "c.jpg"]
    assert "line 2 and " in (said := capsys.readouterr().err)
    assert "line 4 share one" in said


def test_an_id_of_images_is_kept(draw_image, tmp_path: Path) -> None:
    draw_image("a.jpg"), draw_image("b.jpg")
    pairs = read_pairs(listing(tmp_path, "key,image,caption", "7,a.jpg,one", "7,a.jpg,uno", "8,b.jpg,two"))
    assert [(pair.image_id, len(pair.captions)) for pair in pairs] == [("7", 2), ("8", 1)]


def test_every_way_to_write_a_path_is_one_image(draw_image, tmp_path: Path) -> None:
    draw_image("in/a.jpg")
    (tmp_path / "link.jpg").symlink_to("in/a.jpg")
    (tmp_path / "out").symlink_to("in")
    ways = [
        "in/a.jpg",
        "./in/a.jpg",
        "in/../in/a.jpg",
        "in//a.jpg",
        r"in\a.jpg",
        "link.jpg",
        "out/a.jpg",
        f"{tmp_path}/in/a.jpg",
    ]
    (pair,) = read_pairs(listing(tmp_path, "image,caption", *(f"{way},text {way}" for way in ways)))
    assert len(pair.captions) == len(ways)


def test_a_base_name_is_no_identity(draw_image, tmp_path: Path) -> None:
    draw_image("one/a.jpg", seed=1), draw_image("two/a.jpg", seed=2)
    assert len(read_pairs(listing(tmp_path, "image,caption", "one/a.jpg,a", "two/a.jpg,a"))) == 2
    cells = [{"bytes": (tmp_path / name / "a.jpg").read_bytes(), "path": "a.jpg"} for name in ("one", "two")]
    parquet.write_table(pyarrow.table({"image": cells, "text": ["a", "a"]}), tmp_path / "t.parquet")
    pairs = read_pairs(tmp_path / "t.parquet")
    assert len({pair.image_id for pair in pairs}) == len({pair.image.read() for pair in pairs}) == 2


def test_the_captions_of_one_image_are_joined_in_linear_time(draw_image, tmp_path: Path) -> None:
    draw_image("a.jpg")
    (pair,) = read_pairs(listing(tmp_path, "image,caption", *(f"a.jpg,text {row}" for row in range(20_000))))
    assert len(pair.captions) == 20_000
