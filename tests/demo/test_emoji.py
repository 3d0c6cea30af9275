"""The demo's data: nothing of a test emoji is ever seen in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscue.data.audit import audit
from crosscue.data.sources import read_pairs
from crosscue.demo.emoji import ARTISTS, DemoSize, Emoji, catalogue, choose, emoji_pairs
from crosscue.demo.run import listing
from crosscue.errors import DataError

pytestmark = pytest.mark.network
SMALL = DemoSize(train=12, val=6, test=8)


@pytest.fixture(scope="module")
def everything() -> list[Emoji]:
    return catalogue()


def test_splits_share_no_concept_and_no_caption(everything: list[Emoji]) -> None:
    chosen = choose(everything, DemoSize())
    assert {split: len(members) for split, members in chosen.items()} == {"train": 900, "val": 200, "test": 400}
    concepts = {split: {one.family for one in members} for split, members in chosen.items()}
    names = [one.name for members in chosen.values() for one in members]
    assert not concepts["train"] & concepts["test"]
    assert not concepts["train"] & concepts["val"]
    assert not concepts["val"] & concepts["test"]
    assert len(set(names)) == len(names)
    kinds = {one.subcategory for one in chosen["test"]}
    assert len(kinds) > 40, "the gallery spans the subcategories"


def test_the_choice_does_not_depend_on_the_order_it_is_given(everything: list[Emoji]) -> None:
    assert choose(everything, SMALL) == choose(everything[::-1], SMALL)


def test_too_many_emoji_are_refused(everything: list[Emoji]) -> None:
    with pytest.raises(DataError, match="use a smaller DemoSize"):
        choose(everything, DemoSize(train=9_000))


def test_gender_tone_and_hair_are_one_concept(everything: list[Emoji]) -> None:
    by_name = {one.name: one for one in everything}
    running = ["person running", "man running", "woman running dark skin tone"]
    assert len({by_name[name].family for name in running}) == 1
    assert by_name["man red hair"].family == by_name["woman bald"].family
    assert by_name["man running"].family != by_name["man walking"].family


def test_images_are_drawn_and_the_source_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosscue.storage import cache_dir

    wheels = cache_dir() / "wheels"
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path))
    if wheels.exists():
        (tmp_path / "wheels").symlink_to(wheels)
    pairs = emoji_pairs(SMALL, pixels=64)
    assert {split: len(pairs.split(split)) for split in pairs.splits} == {"train": 12, "val": 6, "test": 8}
    assert {pair.image_id.split("/")[0] for pair in pairs} == set(ARTISTS)
    for path in sorted(tmp_path.rglob("*.png")):
        values = np.asarray(Image.open(path).convert("RGB"))
        assert values.shape == (64, 64, 3)
        assert (values[0, 0] == 255).all(), "drawn on white"
        assert values.std() > 5, "and something is drawn"
    found = audit(pairs)
    assert not found.unreadable
    assert emoji_pairs(SMALL, pixels=64).fingerprint() == pairs.fingerprint()
    again = read_pairs(listing(pairs))  # as `crosscue export onnx` of the demo's run does
    assert [(pair.image_id, pair.captions, pair.split) for pair in again] == [
        (pair.image_id, pair.captions, pair.split) for pair in pairs
    ]
