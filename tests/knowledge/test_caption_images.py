"""From what a user has to records: folders of classes, tables, embedded images, aliases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosscue.data.pairs import EmbeddedImage, ImageFile, Negative
from crosscue.data.sources import read_pairs
from crosscue.errors import DataError
from crosscue.knowledge.captions.images import begin_records, find_images, read_aliases
from crosscue.knowledge.captions.pipeline import write_pairs
from crosscue.knowledge.captions.record import CaptionRecord
from tests.knowledge.conftest import draw


def begin(found: list, out: Path, **more: object) -> tuple:
    options = {"dataset": "d", "domain": "pets", "aliases": {}, "provenance": {}, **more}
    return begin_records(found, out, **options)


def test_class_folders_with_and_without_splits(tmp_path: Path) -> None:
    for name in (
        "a/Basset_Hound/1.jpg",
        "a/beagle/2.JPG",
        "b/train/beagle/1.jpg",
        "b/validation/deep/er/2.jpg",
        "b/0.jpg",
    ):
        draw(tmp_path / name, "red", 50)
    (tmp_path / "a" / "beagle" / "2.txt").write_text("an old caption")
    draw(tmp_path / "a" / "out" / "images" / "9.jpg", "red", 50)
    found = find_images(str(tmp_path / "a"), tmp_path / "a" / "out")
    assert [(i, c, s) for i, _, c, s in found] == [
        ("Basset_Hound/1.jpg", "Basset_Hound", None),
        ("beagle/2.JPG", "beagle", None),
    ]
    found = find_images(str(tmp_path / "b"), tmp_path / "out")
    assert [(i, c, s) for i, _, c, s in found] == [
        ("0.jpg", None, None),
        ("train/beagle/1.jpg", "beagle", "train"),
        ("validation/deep/er/2.jpg", "er", "val"),
    ]
    records, images = begin(find_images(str(tmp_path / "a"), tmp_path / "a" / "out"), tmp_path / "elsewhere")
    assert [record.class_name for record in records] == ["Basset Hound", "beagle"]
    assert records[0].image_path == "../a/Basset_Hound/1.jpg"
    assert images[records[0].id].sha256 == records[0].image_sha256


def test_a_table_of_pairs(tmp_path: Path) -> None:
    draw(tmp_path / "x.jpg", "red", 50)
    row = {"image": "x.jpg", "caption": "old", "category": "beagle", "split": "test"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    ((identity, image, category, split),) = find_images(str(tmp_path / "pairs.jsonl"), tmp_path / "out")
    assert (identity, category, split) == ("x.jpg", "beagle", "test") and isinstance(image, ImageFile)


def test_embedded_images_are_written_beside_the_captions(tmp_path: Path) -> None:
    encoded = draw(tmp_path / "x.jpg", "red", 50).read_bytes()
    (record,), _ = begin([("7", EmbeddedImage("table row 7", lambda: encoded), "beagle", None)], tmp_path / "out")
    assert record.image_path.startswith("images/") and record.image_path.endswith(".jpg")
    assert (tmp_path / "out" / record.image_path).read_bytes() == encoded
    negatives = (Negative("A rug.", "category", "beagle", "rug"), Negative("A red beagle.", "attribute", "", "red"))
    finished = record.with_caption("A beagle.").model_copy(update={"negatives": negatives})
    write_pairs(tmp_path / "out" / "captions.jsonl", [CaptionRecord.model_validate(finished.model_dump())])
    (pair,) = read_pairs(tmp_path / "out")
    assert pair.negatives == negatives
    assert pair.captions == ("A beagle.",) and pair.category == "beagle" and pair.image.read() == encoded


def test_mistakes_name_the_place(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images here .* one folder a class"):
        find_images(str(tmp_path / "empty"), tmp_path / "out")
    with pytest.raises(DataError, match="there is no such file or folder"):
        find_images(str(tmp_path / "nowhere"), tmp_path / "out")
    with pytest.raises(DataError, match=r"lost\.jpg: cannot be read"):
        begin([("1", ImageFile(tmp_path / "lost.jpg"), "beagle", None)], tmp_path / "out")
    draw(tmp_path / "x.jpg", "red", 50)
    found = [("1", ImageFile(tmp_path / "x.jpg"), "Basset_Hound", None)]
    with pytest.raises(DataError, match="aliases are given for 'beagle', which is no class here"):
        begin(found, tmp_path / "out", aliases={"beagle": ["hare dog"]})
    (record,), _ = begin(found, tmp_path / "out", aliases={"Basset_Hound": ["basset"]})
    assert record.class_aliases == ("basset",)


def test_alias_files(tmp_path: Path) -> None:
    path = tmp_path / "aliases.yaml"
    path.write_text("Basset Hound: [basset, basset dog]\n")
    assert read_aliases(path) == {"Basset Hound": ["basset", "basset dog"]}
    path.write_text("Basset Hound: basset\n")
    with pytest.raises(DataError, match="not a mapping of lists"):
        read_aliases(path)
