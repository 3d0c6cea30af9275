"""Texts to mark next: without marks, and the most uncertain first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscue.search.collection import open_collection
from crosscue.search.labels import Label
from crosscue.search.searching import Searcher
from crosscue.search.uncertainty import most_uncertain, possible_images
from tests.search.conftest import ColourEncoder, indexed, paint


def test_possible_images_are_1_when_one_stands_out_and_all_when_none_does() -> None:
    assert possible_images(np.array([0.9, 0.2, 0.1])) == pytest.approx(1)
    assert possible_images(np.full(7, 0.3)) == pytest.approx(7)
    two = possible_images(np.array([0.3, 0.3, 0.0]))
    assert two == pytest.approx(2, abs=1e-3) and possible_images(np.empty(0)) == 0


def test_texts_without_marks_come_most_uncertain_first(tmp_path: Path) -> None:
    for number in range(30):
        paint(tmp_path / "images" / f"{number}.png", number)
    indexed(tmp_path / "c", [tmp_path / "images"], ColourEncoder("a"))
    searcher = Searcher(open_collection(tmp_path / "c"), ColourEncoder("a"))
    texts = [*(f"text {number}" for number in range(12)), "", " text 3 "]
    found = most_uncertain(searcher, texts, [Label("text 5", "0" * 20, True)], 10)
    scores = searcher.collection.table("mine").search().limit(None).to_arrow()["vector"].to_pylist()
    own = {
        text: possible_images(np.array(scores) @ searcher.encoder.encode_texts([text]).vectors[0])
        for text in texts[:12]
    }
    expected = sorted((text for text in own if text != "text 5"), key=lambda text: -own[text])[:10]
    assert [one.text for one in found] == expected
    assert [one.possible for one in found] == pytest.approx([own[text] for text in expected], rel=1e-3)
