"""Gain on held-out marks: recall in two spaces, without texts whose images a run has learned from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crosscue.encoding.encoder import Encoded
from crosscue.errors import DataError
from crosscue.search.collection import Collection, open_collection
from crosscue.search.gain import K, gain
from crosscue.search.labels import FEWEST_HELD_OUT, Label, splits
from crosscue.search.schema import KEY
from crosscue.search.searching import Searcher
from tests.search.conftest import ColourEncoder, indexed, paint, unit

Painted = tuple[Collection, dict[str, dict[str, object]]]


class Knowing(ColourEncoder):
    """An encoder whose text is the name of an image: some texts lie on their image, the others opposite to it."""

    def __init__(self, right: set[str], vectors: dict[str, np.ndarray], source: str) -> None:
        super().__init__("a")
        self.right, self.vectors = right, vectors
        self.identity = replace(self.identity, source=source)

    def encode_texts(self, texts: list[str]) -> Encoded:
        rows = [self.vectors[text] * (1 if text in self.right else -1) for text in texts]
        return Encoded(unit(np.array(rows)), np.zeros(len(texts), np.int64))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Painted:
    """A collection of 60 images, and its rows by the name of the image."""
    place = tmp_path_factory.mktemp("gain")
    for number in range(60):
        paint(place / "images" / f"text {number}.png", number)
    indexed(place / "c", [place / "images"], ColourEncoder("a"))
    collection = open_collection(place / "c")
    return collection, {row["name"].removesuffix(".png"): row for row in collection.table().search().to_list()}


def searcher(painted: Painted, right: set[str], source: str = "a") -> Searcher:
    collection, rows = painted
    return Searcher(collection, Knowing(right, {text: np.array(row["vector"]) for text, row in rows.items()}, source))


def marks(rows: dict[str, dict[str, object]], number: int) -> list[Label]:
    return [Label(f"text {one}", str(rows[f"text {one}"][KEY]), True) for one in range(number)]


def test_recall_and_interval_are_of_the_held_out_texts_alone(
    painted: Painted,
) -> None:
    labels = marks(painted[1], 40)
    held = sorted(text for text, split in splits(labels).items() if split == "test")
    assert len(held) == FEWEST_HELD_OUT
    labels += [Label(held[0], str(painted[1]["text 50"][KEY]), False), Label(held[1], "0" * 20, True)]
    before = searcher(painted, set(held[:5]))
    found = gain(labels, before, searcher(painted, set(held[:15])))
    assert sorted(text.text for text in found.texts) == held and all(text.images == 1 for text in found.texts)
    assert [text.text for text in found.texts if text.before == 1] == [
        text.text for text in found.texts if text.text in held[:5]
    ]
    assert found.difference.mean == pytest.approx(50) and 20 < found.difference.low < 50 and found.difference.p < 0.01
    assert "25.0 -> 75.0, +50.0 points" in found.verdict and found.verdict.endswith("higher.")
    same = gain(labels, before, before)
    assert same.known and "no difference that can be told" in same.verdict


def test_few_held_out_texts_and_those_that_were_trained_on(painted: Painted, tmp_path: Path) -> None:
    rows = painted[1]
    labels = marks(rows, 36)
    held = [text for text, split in splits(labels).items() if split == "test"]
    before = searcher(painted, set())
    few = gain(labels, before, searcher(painted, set(held)))
    assert not few.known and "Below 20 held-out texts the gain cannot be known" in few.verdict
    (tmp_path / "pairs.json").write_text(json.dumps({"train": [str(rows[held[0]]["content"])[:16]], "val": []}))
    after = searcher(painted, set(held), str(tmp_path))
    left = gain(labels, before, after)
    assert left.trained == 1 and held[0] not in {text.text for text in left.texts} and len(left.texts) == len(held) - 1
    with pytest.raises(DataError, match="no held-out text has a right image"):
        gain([], before, after)


def test_a_text_with_many_right_images_counts_its_first_ten(
    painted: Painted,
) -> None:
    ids = [str(row[KEY]) for row in painted[1].values()]
    every = [Label("text 1", one, True) for one in ids]
    other = [Label(f"text {number}", f"{number:020x}", True) for number in range(2, 9)]
    labels = next(labels for size in range(8) if splits(labels := [*every, *other[:size]])["text 1"] == "test")
    (found,) = gain(labels, searcher(painted, set()), searcher(painted, {"text 1"})).texts
    assert found.images == 60 and found.before == found.after == 1 and K == 10
