"""`crosscue data check` names every fault of a source at once, and the splits that other verbs use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosscue.cli import dispatch
from tests.images import draw_noise, write_source

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """30 rows without an image, two without a caption, one in another form, and two rows that are right."""
    for number in range(5):
        draw_noise(tmp_path / f"{number}.png", number, 6, 6)
    rows = [
        "0.png,one",
        *(f"none{number}.png,text" for number in range(30)),
        "1.png,",
        "2.png,  ",
        "3.png,a,b",
        "4.png,two",
    ]
    (tmp_path / "t.csv").write_text("\n".join(["image,caption", *rows]))
    return tmp_path / "t.csv"


def test_every_fault_of_a_table_is_named_at_once(table: Path, tmp_path: Path, capsys: Capture) -> None:
    assert dispatch(["data", "check", str(table), "--json", str(tmp_path / "out.json")]) == 1
    printed = capsys.readouterr().out
    for words in (
        "missing images: 30",
        "... and 10 more",
        "empty captions: 2",
        "rows with faults: 1",
        "line 35: the row does not",
    ):
        assert words in printed
    assert printed.count("there is no image") == 20
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["blocking"]
    assert len(found["faults"]["missing images"]) == 30
    assert [line.split(": ")[0] for line in found["empty_captions"]] == [f"{table} line 33", f"{table} line 34"]
    assert found["splits"]["all"]["images"] == 2


def test_what_is_left_out_is_counted(table: Path, tmp_path: Path, capsys: Capture) -> None:
    assert dispatch(["data", "check", str(table), "--missing", "skip", "--json", str(tmp_path / "out.json")]) == 1
    said = f"{table}: left out by --missing skip: 30 missing images, 2 empty captions"
    assert said in capsys.readouterr().err
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["notes"] == [said]
    assert list(found["faults"]) == ["rows with faults"]


def test_images_without_captions_are_all_named(tmp_path: Path, capsys: Capture) -> None:
    for number in range(4):
        draw_noise(tmp_path / f"{number}.png", number, 6, 6)
    (tmp_path / "0.txt").write_text("one")
    (tmp_path / "1.txt").write_text("\n")
    (tmp_path / "2.txt").write_bytes(b"caf\xe9")
    assert dispatch(["data", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    for words in (
        "images without captions: 1",
        "3.png: no caption file",
        "empty captions: 1",
        "2.txt line 1: not UTF-8",
    ):
        assert words in printed
    (tmp_path / "2.txt").unlink()
    assert dispatch(["data", "check", str(tmp_path), "--missing", "skip"]) == 0
    assert "left out by --missing skip: 1 empty captions, 2 images without captions" in capsys.readouterr().err


def test_a_source_of_faults_alone_is_listed(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "t.csv").write_text("image,caption\nnone.png,one")
    assert dispatch(["data", "check", str(tmp_path / "t.csv")]) == 1
    assert "no row has both an image file and a caption" in capsys.readouterr().out


def test_the_splits_that_are_used_are_printed(tmp_path: Path, capsys: Capture) -> None:
    assert dispatch(["data", "check", str(write_source(tmp_path / "[old]", train=6, val=3, test=2))]) == 0
    printed = capsys.readouterr().out
    assert "adapt: 6 images for training, 3 for validation" in printed
    assert "evaluate: 2 images, split test" in printed
    assert "[old]" in printed


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet", "folder"])
def test_a_source_that_may_not_be_read_is_one_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    import os

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / name))

    if name == "folder":
        (tmp_path / name).mkdir()
        monkeypatch.setattr(os, "scandir", refuse)
    else:
        (tmp_path / name).write_text("")
        monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.setattr(Path, "read_bytes", refuse)
        monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)
    assert dispatch(["data", "check", str(tmp_path / name)]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(f"{name}: cannot be read (permission denied). Allow it: chmod u+r {tmp_path / name}")
    )


@pytest.mark.parametrize("source", ["x" * 5000, "a/" + "y" * 300, "a\0b", "~no_such_user/x", "loop"])
def test_a_path_that_cannot_be_is_one_line(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for options in ([], ["--kind", "csv"], ["--kind", "folder"]):
        assert dispatch(["data", "check", source, *options]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "Check the path" in line or "Correct the link" in line
