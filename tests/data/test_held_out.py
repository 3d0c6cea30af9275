"""The pairs an evaluation takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from crosscue.cli import dispatch
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.splits import bank_pairs, held_out
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


def listed(*names: str, split: str | None = None, folder: str = "images") -> Pairs:
    """Returns pairs whose ids are those of another listing: `folder` stands before the name."""
    return Pairs(
        (Pair(ImageFile(Path("images", name)), (f"{name} here",), f"{folder}/{name}", split=split) for name in names),
        "mine",
    )


def test_a_bank_is_the_training_split() -> None:
    assert [pair.split for pair in bank_pairs(source("test", "train", "val", "train"), None)] == ["train", "train"]
    assert len(bank_pairs(source(None, None), None)) == 2


def test_a_bank_leaves_out_what_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same content under another id or name, or the same id and captions with another image."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for number in range(4):
        Path("images", f"{number}.jpg").write_bytes(b"image %d" % number)
    Path("other.jpg").write_bytes(b"another image")
    Path("copy.jpg").write_bytes(b"image 2")
    evaluated = listed("1.jpg", "3.jpg", split="test", folder="elsewhere")
    kept = bank_pairs(listed("0.jpg", "1.jpg", "2.jpg", "3.jpg"), evaluated)
    assert [pair.image_id for pair in kept] == ["images/0.jpg", "images/2.jpg"]
    assert "leaves out 2 of 4 pairs" in capsys.readouterr().err
    moved = Pairs([Pair(ImageFile(Path("other.jpg")), ("1.jpg here",), "images/1.jpg", split="test")], "moved")
    assert [pair.image_id for pair in bank_pairs(listed("0.jpg", "1.jpg"), moved)] == ["images/0.jpg"]
    copied = Pairs([Pair(ImageFile(Path("copy.jpg")), ("other words",), "copy", split="test")], "copies")
    assert [pair.image_id for pair in bank_pairs(listed("0.jpg", "2.jpg"), copied)] == ["images/0.jpg"]
    with pytest.raises(DataError, match=r"contains the evaluated queries.*--bank SOURCE"):
        bank_pairs(listed("1.jpg"), evaluated)
    assert len(bank_pairs(listed("0.jpg", "2.jpg"), evaluated)) == 2
    assert not capsys.readouterr().err.count("2 of 2")


def test_a_bank_is_no_test_split() -> None:
    with pytest.raises(DataError, match=r"a bank needs training pairs, and there is only the split test"):
        bank_pairs(source("test", "test"), None)
