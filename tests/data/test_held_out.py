"""The pairs an evaluation takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.splits import held_out
from crosscue.errors import DataError


def source(*splits: str | None) -> Pairs:
    return Pairs((Pair(ImageFile(Path(f"{i}.jpg")), ("a",), str(i), split=s) for i, s in enumerate(splits)), "mine")


def test_training_pairs_are_evaluated_on_request_only() -> None:
    with pytest.raises(DataError, match=r"mine: its only split is 'train'.*--split train"):
        held_out(source("train", "train"))
    chosen = held_out(source("train", "train"), "train")
    assert len(chosen) == 2


@pytest.mark.parametrize(
    ("splits", "count"), [((None, None), 2), (("train", "test"), 1), (("test",), 1), (("val",), 1)]
)
def test_other_sources_need_no_split(splits: tuple[str | None, ...], count: int) -> None:
    assert len(held_out(source(*splits))) == count
