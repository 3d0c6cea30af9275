"""Subjects of captions, and the recall of each kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscue.cli import dispatch
from crosscue.data.pairs import EmbeddedImage, Pair, Pairs
from crosscue.evaluation.ranks import Ranks
from crosscue.evaluation.slices import by_category, by_wording, unread, wordings
from crosscue.knowledge.actions import parser
from tests import tiny
from tests.images import write_source


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man is riding a horse.", ["an action"]),
        ("A man rides a horse while a dog runs behind him.", ["an action", "two actions or more"]),
        ("A lamp next to a bed", ["a relation, no action"]),
        ("A red old car", ["attributes alone"]),
        ("The bananas", ["none of these"]),
        ("A man without a hat is riding a horse.", ["an action", "a negation"]),
        ("Ein Mann mit einem orangefarbenen Hut starrt auf etwas.", []),
    ],
)
def test_what_a_caption_speaks_of(caption: str, expected: list[str]) -> None:
    assert list(wordings((caption,))[0]) == expected


def test_recall_of_a_wording_is_that_of_its_captions() -> None:
    captions = [
        "A man is riding a horse.",
        "A lamp next to a bed",
        "A girl is reading a book.",
        "Zwei Hunde auf der Wiese",
    ]
    better = np.array([0, 3, 7, 0])
    ones = np.ones(4, dtype=np.int64)
    parts = by_wording(captions, Ranks(better, ones, ones))
    assert parts == {
        "an action": {"captions": 2, "t2i_r1": 50, "t2i_r5": 50, "t2i_r10": 100},
        "a relation, no action": {"captions": 1, "t2i_r1": 0, "t2i_r5": 100, "t2i_r10": 100},
    }


def test_recall_of_a_category_is_that_of_its_images_and_captions() -> None:
    """Two birds with captions 0, 1 and 5, a cat with captions 2 to 4, and an image without a category."""
    unread = lambda: b""  # noqa: E731
    rows = [("bird", 2), ("cat", 3), ("bird", 1), (None, 1)]
    pairs = Pairs(
        Pair(EmbeddedImage(f"{i}.jpg", unread), tuple(f"caption {j} of {i}" for j in range(count)), str(i), name)
        for i, (name, count) in enumerate(rows)
    )
    i2t, t2i = np.array([3, 0, 0, 0]), np.array([0, 3, 0, 0, 1, 2, 0])  # candidates that are better
    parts = by_category(pairs, *(Ranks(better, np.ones_like(better), np.ones_like(better)) for better in (i2t, t2i)))
    assert parts == {
        "bird": {"images": 2, "i2t_r1": 50, "t2i_r1": pytest.approx(100 / 3)},
        "cat": {"images": 1, "i2t_r1": 100, "t2i_r1": pytest.approx(200 / 3)},
    }


def test_without_spacy_there_are_no_wordings_but_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones(1, dtype=np.int64)
    assert by_wording(["A man is riding a horse."], Ranks(ones, ones, ones)) and not unread()
    monkeypatch.setattr(parser, "MODELS", ("no_such_model",))
    parser.load_parser.cache_clear()
    assert by_wording(["A man is riding a horse."], Ranks(ones, ones, ones)) == {}
    assert "pip install 'crosscue[spacy]'" in unread()


def test_without_spacy_evaluate_prints_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "images")
    command = ["evaluate", "zero_shot", "--data", str(source), "--backbone", str(tiny.clip_folder())]
    assert dispatch(command) == 0
    assert "left out" not in capsys.readouterr().out
    monkeypatch.setattr(parser, "MODELS", ("no_such_model",))
    parser.load_parser.cache_clear()
    assert dispatch(command) == 0
    assert "recall by wording is left out" in (printed := capsys.readouterr().out)
    assert "pip install 'crosscue[spacy]'" in printed
