"""The pairs an evaluation takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from crosscue.cli import dispatch
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.splits import held_out
from crosscue.errors import DataError
from tests import tiny


def source(*splits: str | None) -> Pairs:
    return Pairs((Pair(ImageFile(Path(f"{i}.jpg")), ("a",), str(i), split=s) for i, s in enumerate(splits)), "mine")


def test_training_pairs_are_evaluated_on_request_only() -> None:
    with pytest.raises(DataError, match=r"mine: its only split is 'train'.*--data SOURCE --split train"):
        held_out(source("train", "train"))
    chosen = held_out(source("train", "train"), "train")
    assert len(chosen) == 2


@pytest.mark.parametrize(
    ("splits", "count"), [((None, None), 2), (("train", "test"), 1), (("test",), 1), (("val",), 1)]
)
def test_other_sources_need_no_split(splits: tuple[str | None, ...], count: int) -> None:
    assert len(held_out(source(*splits))) == count


def test_the_command_of_the_refusal_can_be_pasted(
    draw_image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{draw_image(f'my images/{index}.png', seed=index).name},text {index},train" for index in range(3)]
    (tmp_path / "my pairs.csv").write_text("\n".join(["image,caption,split", *rows]))
    given = ["--backbone", str(tiny.clip_folder()), "--images", str(tmp_path / "my images")]
    assert dispatch(["evaluate", "zero_shot", "--data", str(tmp_path / "my pairs.csv"), *given]) == 2
    _, _, command = capsys.readouterr().err.strip().partition("crosscue evaluate RUN ")
    assert dispatch(["evaluate", "zero_shot", *shlex.split(command), *given[:2]]) == 0
