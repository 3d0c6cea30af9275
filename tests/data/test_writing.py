"""Written pairs are read back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscue.data.pairs import EmbeddedImage, ImageFile, Negative, Pair, Pairs
from crosscue.data.sources import read_pairs
from crosscue.data.writing import write_pairs
from crosscue.errors import DataError


def test_pairs_survive_writing_and_reading(draw_image, tmp_path: Path) -> None:
    negatives = (Negative("a cat", "category", "dog", "cat"), Negative("a red dog", "attribute"))
    pairs = Pairs(
        [
            Pair(
                ImageFile(draw_image("photos/1.jpg")), ("a dog", "ein Hund — größer"), "x/1", "dog", negatives, "train"
            ),
            Pair(ImageFile(draw_image("photos/2.jpg")), ("a cat",), "x/2", synthetic="a cat on a mat"),
        ]
    )
    assert write_pairs(tmp_path / "deep" / "pairs.jsonl", pairs) == 2
    read = read_pairs(tmp_path / "deep" / "pairs.jsonl")
    assert read.fingerprint() == pairs.fingerprint()
    assert [image.read() for image in read.images] == [image.read() for image in pairs.images]
    assert "../photos/1.jpg" in (tmp_path / "deep" / "pairs.jsonl").read_text(encoding="utf-8")


def test_an_image_in_a_table_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    pair = Pair(EmbeddedImage("t.parquet row 1", lambda: b""), ("a",), "1", where="t.parquet row 1")
    with pytest.raises(DataError, match=r"t.parquet row 1: the image is inside a table"):
        write_pairs(tmp_path / "pairs.jsonl", [pair])
    assert not (tmp_path / "pairs.jsonl").exists()
