"""Algebra of queries, and effects of words and of parts of an image, on an encoder that can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosscue.data.pairs import ImageFile
from crosscue.data.pixels import PixelSpec
from crosscue.encoding.encoder import Encoded
from crosscue.encoding.occlusion import explained, occluded
from crosscue.encoding.query import Term, combined, embedded, parsed
from crosscue.encoding.words import MOST_WORDS, word_effects
from crosscue.errors import DataError, OptionError
from tests.images import draw

WORDS = ("dog", "cat", "pool", "red")


class ByHand:
    """Encoder whose texts are counts of four words, and whose images are mean colours; not all of them unit vectors."""

    pixels = PixelSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        counts = [[float(text.split().count(word)) for word in WORDS] for text in texts]
        return Encoded(np.array(counts, np.float32), np.array([max(len(text.split()) - 3, 0) for text in texts]))

    def encode_images(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        colours = pixels.astype(np.float32).mean((2, 3)) / 255
        return np.concatenate([colours, np.zeros((len(pixels), 1), np.float32)], axis=1)


@pytest.mark.parametrize(
    ("arguments", "terms"),
    [
        (["a", "red", "bicycle"], [Term("a red bicycle")]),
        (["2:golden retriever", "+", "./pool.jpg", "-", "fruit"], None),
        (["0.5:dog", "-", "2:cat"], [Term("dog", 0.5), Term("cat", -2.0)]),
        (
            ["2:30 on a clock", "+", "16:9", "+", "2: 3 dogs"],
            [Term("2:30 on a clock"), Term("16:9"), Term("3 dogs", 2.0)],
        ),
        (["-", "cat", "+", "dog"], [Term("cat", -1.0), Term("dog")]),
        (["well-known - not a sign"], [Term("well-known - not a sign")]),
        (["x" * 5000], [Term("x" * 5000)]),
    ],
)
def test_a_command_line_becomes_terms(arguments: list[str], terms: list[Term] | None) -> None:
    wanted = terms or [Term("golden retriever", 2.0), Term(Path("./pool.jpg")), Term("fruit", -1.0)]
    assert parsed(arguments) == wanted


@pytest.mark.parametrize("arguments", [[], [""], ["  "], ["dog", "+"], ["-"], ["dog", "+", "-", "cat"], ["2:"]])
def test_a_missing_term_is_refused(arguments: list[str]) -> None:
    with pytest.raises(OptionError, match="say what to look for: words, or an image"):
        parsed(arguments)


def test_a_file_in_the_folder_is_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "dog.jpg", (255, 0, 0), 0)
    monkeypatch.chdir(tmp_path)
    assert parsed(["dog.jpg", "-", "dog"]) == [Term(Path("dog.jpg")), Term("dog", -1.0)]


def test_a_query_is_the_weighted_sum_of_its_terms(tmp_path: Path) -> None:
    draw(tmp_path / "red.png", (255, 0, 0), 0)
    encoder: Any = ByHand()
    pixels = encoder.pixels.read(ImageFile(tmp_path / "red.png"))
    colour = encoder.encode_images(pixels[None])[0]
    found = embedded([Term("dog", 2.0), Term(tmp_path / "red.png", 0.5), Term("cat", -1.0)], encoder)
    wanted = np.array([2.0, -1.0, 0, 0]) + 0.5 * colour
    np.testing.assert_allclose(found.vector, wanted / np.linalg.norm(wanted), atol=1e-6)
    assert embedded([Term("dog"), Term("a b c d e")], encoder).truncated == 2


def test_terms_that_cancel_out_are_refused() -> None:
    encoder: Any = ByHand()
    with pytest.raises(OptionError, match="the terms cancel out"):
        embedded([Term("dog"), Term("dog", -1.0)], encoder)
    with pytest.raises(OptionError, match="say what to look for"):
        embedded([Term("dog"), Term(" ")], encoder)
    with pytest.raises(OptionError, match="a weight is above 1,000,000"):
        embedded([Term("dog", 1e42)], encoder)
    with pytest.raises(DataError, match="nowhere"):
        embedded([Term(Path("nowhere.jpg"))], encoder)
    assert np.linalg.norm(combined(np.eye(3, dtype=np.float32), [1.0, 1e-3, -5.0])) == pytest.approx(1)


def test_the_effect_of_a_word_is_the_score_it_adds() -> None:
    weights = np.array([0.5, -0.25, 0.0, 0.125], np.float32)
    encoder: Any = ByHand()
    effects = word_effects("dog and cat", lambda texts: encoder.encode_texts(texts).vectors @ weights)
    assert effects == [("dog", 0.5), ("and", 0.0), ("cat", -0.25)]


def test_a_long_text_is_not_encoded_once_for_each_of_its_words() -> None:
    asked: list[str] = []

    def score(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return np.arange(len(texts), dtype=np.float32)

    effects = word_effects("word " * 1000, score)
    assert len(asked) == 1 + MOST_WORDS and len(effects) == MOST_WORDS
    assert len(asked[0].split()) == 1000 and effects[0] == ("word", -1.0)


def test_the_effect_of_a_cell_is_exact() -> None:
    pixels = np.full((3, 8, 8), 128, np.uint8)
    pixels[0, 2:4, 6:8] = 255  # the cell in row 1, column 3
    copies = occluded(pixels, ByHand.pixels.mean)
    assert copies.shape == (17, 3, 8, 8)
    assert (copies[0] == pixels).all()
    assert (copies[8] == 128).all()
    encoder: Any = ByHand()
    found = explained(encoder, pixels, "dog")  # the score is the mean of red
    wanted = np.zeros((4, 4))
    wanted[1, 3] = (255 - 128) * 4 / 64 / 255
    np.testing.assert_allclose(found.places, wanted, atol=1e-6)
    assert found.share == pytest.approx(wanted.sum(), abs=1e-6)
    assert found.score == pytest.approx(encoder.encode_images(pixels[None])[0, 0])
    assert found.kind == "occlusion"
    assert [word for word, _ in found.words] == ["dog"]
