"""crosscue index on a tiny CLIP, as a user types it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from crosscue import open as open_in_python
from crosscue.search.collection import open_collection
from crosscue.search.recovery import manifests
from tests import tiny
from tests.cli import COMMAND, crosscue, refused
from tests.search.conftest import paint, rows_of

BASE = ("--run", "zero_shot", "--precision", "fp32", "--threads", 2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(6):
        paint(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


def index(*arguments: object) -> str:
    done = crosscue("index", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_is_indexed_kept_up_to_date_and_planned(photos: Path) -> None:
    base = (*BASE, "--backbone", tiny.clip_folder())
    assert index(photos, *base, "--dry_run") == "6 images: 6 added, 0 same. Nothing was written.\n"
    assert not (photos / ".crosscue").exists()
    assert index(photos, *base) == "6 images: 6 added, 0 same.\n"
    (photos / "5.png").unlink()
    paint(photos / "new" / "7.png", 7)
    assert index(photos) == "6 images: 1 added, 5 same, 1 removed.\n", "the backbone is that of the space"
    found = open_collection(photos)
    assert found.space().identity.backbone == str(tiny.clip_folder())
    assert (
        index("--collection", photos / ".crosscue", "--exclude", "new, *.gif")
        == "5 images: 0 added, 5 same, 1 removed.\n"
    )
    assert index(photos) == "5 images: 0 added, 5 same.\n", "what is left out stays so"
    open_in_python(photos).add()
    assert len(open_collection(photos).table().search().to_list()) == 5
    paint(photos / ".hidden.png", 9)
    assert index(photos, "--hidden", "true") == "6 images: 1 added, 5 same.\n"
    assert index(photos, "--exclude", "none") == "7 images: 1 added, 6 same.\n"
    assert index(photos, "--hidden", "false") == "6 images: 0 added, 6 same, 1 removed.\n"


def test_another_run_under_a_name_is_refused_and_its_remedy_replaces_it(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    index(photos, *BASE, "--collection", place, "--name", "mine", "--backbone", tiny.clip_folder())
    again = ("index", *BASE, "--collection", place, "--name", "mine", "--backbone", tiny.dual_folder())
    assert f"--run zero_shot --backbone {tiny.dual_folder()} --name mine --replace" in refused(*again)
    assert index(*again[1:], "--replace") == "6 images: 6 added, 0 same.\n"
    assert open_collection(place).space("mine").identity.width == 32
    index(*BASE, "--collection", place, "--name", "base", "--backbone", tiny.clip_folder())
    assert index("--collection", place) == "mine: 6 images: 0 added, 6 same.\nbase: 6 images: 0 added, 6 same.\n"


def test_captions_of_a_source_are_kept_for_later_runs(photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "pairs.csv"
    source.write_text("image,caption,category\nphotos/0.png,a red bird,bird\n")
    base = (*BASE, "--backbone", tiny.clip_folder())
    index(photos, *base, "--captions_from", source, "--captions")
    place = photos / ".crosscue"
    row = next(iter(open_collection(place).table().search().where("path = '0.png'").to_list()))
    assert (row["captions"], row["category"]) == (["a red bird"], "bird")
    assert open_collection(place).captions_table().count_rows() == 1
    assert index(photos) == "6 images: 0 added, 6 same.\n"
    assert index(photos, "--captions_from", "none") == "6 images: 0 added, 1 changed, 5 same.\n"


def test_a_source_of_captions_is_found_from_another_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.csv").write_text("image,caption\nphotos/0.png,a red bird\n")
    monkeypatch.chdir(tmp_path)
    index("photos", *BASE, "--backbone", tiny.clip_folder(), "--captions_from", "pairs.csv")
    monkeypatch.chdir("/")
    assert index(photos) == "6 images: 0 added, 6 same.\n"


def test_repair_reads_all_rows_and_restores_what_a_power_cut_took(photos: Path) -> None:
    index(photos, *BASE, "--backbone", tiny.clip_folder())
    for manifest in manifests(open_collection(photos).table_folder("zero_shot"))[:2]:
        manifest.write_bytes(b"")
    done = crosscue("index", "--collection", photos / ".crosscue", "--repair")
    assert "went back 2 commits, to 0 rows" in done.stderr
    assert done.stdout == "6 images: 6 added, 0 same.\n"


def test_missing_images_end_with_an_error_and_no_loss(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    index(photos, *BASE, "--collection", place, "--name", "mine", "--backbone", tiny.clip_folder())
    photos.rename(tmp_path / "away")
    assert "6 of 6 images are gone" in refused("index", "--collection", place)
    assert len(rows_of(place)) == 6
    assert index("--collection", place, "--remove_missing", "always") == "0 images: 0 added, 0 same, 6 removed.\n"
    assert "it has no images yet. Index some" in refused("search", "a", "--collection", place)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to index"),
        (("nowhere", "--run", "zero_shot"), "no such folder"),
        (("--collection", "c"), "no run to encode with"),
        (("--collection", "c", "--batch_size", 0), "at least 1"),
        (("--collection", "c", "--watch", 0), "above 0"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "some" / "a.png", 1)
    assert message in refused("index", *(("some", *arguments) if "c" in arguments else arguments))


@pytest.mark.parametrize(
    "arguments",
    [("nowhere", "--run", "zero_shot"), ("--run", "zero_shot"), ("some", "--run", "no_such_run"), ("some",)],
)
def test_a_start_that_fails_leaves_no_collection(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "some" / "a.png", 1)
    refused("index", *arguments, "--collection", "c")
    assert not (tmp_path / "c").exists()


def test_the_folder_of_images_stands_for_the_collection_in_it(photos: Path) -> None:
    base = (*BASE, "--backbone", tiny.clip_folder())
    index(photos, *base)
    assert index("--collection", photos) == "6 images: 0 added, 6 same.\n"
    assert not (photos / "collection.json").exists()
    options = {"backbone": str(tiny.clip_folder()), "precision": "fp32"}
    assert len(open_in_python(photos, run="zero_shot", **options)) == 6
    assert not (photos / "collection.json").exists()


@pytest.mark.slow
def test_watching_says_once_that_a_disk_is_gone(photos: Path, tmp_path: Path) -> None:
    import subprocess

    command = [*COMMAND, "index", photos, *BASE, "--backbone", tiny.clip_folder(), "--collection", tmp_path / "c"]
    command += ["--watch", "0.1"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(list(map(str, command)), stdout=pipe, stderr=pipe, text=True, env=os.environ)
    assert process.stdout.readline() == "6 images: 6 added, 0 same.\n"
    photos.rename(tmp_path / "away")
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert said.count("6 of 6 images are gone") == 1
    assert process.returncode == 130


@pytest.mark.slow
def test_watching_finds_a_new_image_and_ctrl_c_ends_it(photos: Path) -> None:
    import subprocess

    command = [*COMMAND, "index", photos, *BASE, "--backbone", tiny.clip_folder(), "--watch", "0.2"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout.readline() == "6 images: 6 added, 0 same.\n"
    paint(photos / "new.png", 9)
    assert process.stdout.readline() == "7 images: 1 added, 6 same.\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[0] == ""
    assert process.returncode == 130
