"""Walks: names of any bytes, links, hidden and excluded folders, and folders that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crosscue.search.collection import open_collection
from crosscue.search.scan import Scan
from crosscue.search.scanning import walk
from tests.search.conftest import ColourEncoder, indexed, paint, rows_of


def names(root: Path, under: Path = Path(), **options: object) -> list[str]:
    return [item.raw.decode("utf-8", "replace") for item in walk("r", root, under, Scan(**options)).items]


def test_images_are_found_by_their_ending_in_any_case_and_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt", "film.mp4", "noending"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert names(tmp_path) == ["a.png", "b.JPG", "sub/c.webp"]
    assert names(tmp_path, Path("sub")) == ["sub/c.webp"]


def test_hidden_excluded_and_collection_folders_are_not_entered(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".hidden/c.png", ".git/d.png", "@eaDir/e.png", "old/f.png", "old/g.gif", "c/h.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c" / "tables").mkdir()
    (tmp_path / "c" / "collection.json").touch()
    assert names(tmp_path) == ["a.png", "old/f.png", "old/g.gif"]
    assert names(tmp_path, hidden=True) == [".b.png", ".hidden/c.png", "a.png", "old/f.png", "old/g.gif"]
    assert names(tmp_path, exclude=("*.gif",)) == ["a.png", "old/f.png"]
    assert names(tmp_path, exclude=("old/",)) == ["a.png"]


def test_links_are_left_out_and_circles_of_them_end(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    paint(root / "real" / "a.png", 1)
    paint(outside / "b.png", 2)
    (root / "circle").symlink_to(root)
    (root / "0first").symlink_to(root / "real")
    (root / "out").symlink_to(outside)
    (root / "one.png").symlink_to(outside / "b.png")
    (root / "broken.png").symlink_to(root / "nothing")
    assert names(root) == ["real/a.png"]
    assert names(root, follow_links=True) == ["one.png", "out/b.png", "real/a.png"]


def test_names_of_any_bytes_are_indexed_and_opened_again(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    odd = ["new\nline.png", "émoji 🐕.png", "quo'te\".png", "nfd-e\u0301.png", "nfc-\u00e9.png", " .png"]
    raw = [name.encode() for name in odd] + [b"latin-\xe9.png"]
    for number, name in enumerate(raw):
        paint(photos / os.fsdecode(name), number)
    counts = indexed(tmp_path / "c", [photos], ColourEncoder()).counts
    assert (counts.added, counts.unreadable) == (len(raw), 0)
    collection = open_collection(tmp_path / "c")
    found = [os.fsencode(collection.file(row).name) for row in rows_of(tmp_path / "c").values()]
    assert sorted(found) == sorted(raw)
    assert "nfd-\u00e9.png" in rows_of(tmp_path / "c")
    assert indexed(tmp_path / "c", [photos], ColourEncoder()).counts.same == len(raw)


def test_rows_below_a_folder_that_cannot_be_read_are_kept(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number, name in enumerate(("a.png", "b.png", "c.png", "closed/d.png")):
        paint(photos / name, number)
    indexed(tmp_path / "c", [photos], ColourEncoder())
    (photos / "a.png").unlink()
    scandir = os.scandir

    def refusing(path: bytes) -> object:
        if os.fsencode(path).endswith(b"closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        outcome = indexed(tmp_path / "c", [photos], ColourEncoder())
    assert outcome.counts.removed == 1
    assert set(rows_of(tmp_path / "c")) == {"b.png", "c.png", "closed/d.png"}
