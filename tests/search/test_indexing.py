"""Indexing runs: removal, failures, captions, several spaces, interruption, recovery, the lock and indices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crosscue.errors import CollectionError, StorageError
from crosscue.search import indices, ingest, reading, tuning
from crosscue.search.collection import Collection, open_collection
from crosscue.search.connection import fresh
from crosscue.search.indexing import Indexing, index, targets_of, walks_of, writing
from crosscue.search.labels import Label, add_labels, labels_of
from crosscue.search.planning import planned
from crosscue.search.reading import Captions
from crosscue.search.recovery import manifests
from crosscue.search.scan import Scan
from tests.search.conftest import ColourEncoder, indexed, paint, rows_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(10):
        paint(tmp_path / "photos" / f"{number}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "c"


def test_an_unmounted_root_loses_no_rows(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    indexed(place, [photos], encoder)
    away = photos.rename(photos.with_name("away"))
    gone = indexed(place, [photos], encoder)
    assert gone.kept == (
        "photos/: 10 of 10 images are gone. If that is right, add --remove_missing always; if a disk is not mounted, mount it."
    )
    photos.mkdir()
    assert indexed(place, [photos], encoder).kept == gone.kept
    assert len(rows_of(place)) == 10
    photos.rmdir()
    away.rename(photos)
    assert indexed(place, [photos], encoder).counts.same == 10
    shutil.rmtree(photos)
    assert indexed(place, [photos], encoder, remove_missing="always").counts.removed == 10
    assert rows_of(place) == {}


def test_more_than_half_of_a_root_is_not_removed_at_once(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    indexed(place, [photos], encoder)
    for number in range(6):
        (photos / f"{number}.png").unlink()
    outcome = indexed(place, [photos], encoder)
    assert outcome.kept is not None
    assert "6 of 10 images are gone" in outcome.kept
    assert len(rows_of(place)) == 10
    paint(photos / "5.png", 5)
    outcome = indexed(place, [photos], encoder)
    assert (outcome.kept, outcome.counts.removed, len(rows_of(place))) == (None, 5, 5)


def test_a_part_of_a_root_is_indexed_without_loss_of_the_rest(
    photos: Path, place: Path, encoder: ColourEncoder
) -> None:
    paint(photos / "trips" / "a.png", 20)
    paint(photos / "trips" / "b.png", 21)
    indexed(place, [photos], encoder)
    (photos / "trips" / "a.png").unlink()
    (photos / "0.png").unlink()
    assert indexed(place, [photos / "trips"], encoder).counts.removed == 1
    assert {"0.png", "trips/b.png"} < set(rows_of(place))
    assert indexed(place, [], encoder).counts.removed == 1


def test_unreadable_files_are_listed_and_tried_again_when_they_change(
    photos: Path, place: Path, encoder: ColourEncoder
) -> None:
    (photos / "0.png").write_bytes(b"")
    (photos / "1.png").write_bytes(b"nothing")
    counts = indexed(place, [photos], encoder).counts
    assert (counts.added, counts.unreadable, counts.images) == (8, 2, 10)
    listed = [json.loads(line) for line in (place / "failures.jsonl").read_text().splitlines()]
    assert {(row["root"], row["path"]) for row in listed} == {("photos", "0.png"), ("photos", "1.png")}
    assert indexed(place, [photos], encoder).counts.unreadable == 2
    paint(photos / "0.png", 0)
    (photos / "1.png").unlink()
    counts = indexed(place, [photos], encoder).counts
    assert (counts.added, counts.unreadable) == (1, 0)
    assert (place / "failures.jsonl").read_text() == ""
    (photos / "2.png").write_bytes(b"broken now")
    counts = indexed(place, [photos], encoder).counts
    assert (counts.unreadable, len(rows_of(place))) == (1, 8)
    assert "1 unreadable (failures.jsonl)" in str(counts)


def test_copies_of_a_broken_image_all_get_its_reason(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    whole = (photos / "0.png").read_bytes()
    for name in "abcde":
        (photos / f"{name}.png").write_bytes(whole[: len(whole) // 2])
    counts = indexed(place, [photos], encoder).counts
    assert (counts.added, counts.unreadable) == (10, 5)


def test_two_spaces_lie_side_by_side_and_share_thumbnails(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    other = ColourEncoder("b")
    indexed(place, [photos], encoder)
    with writing(place) as found:
        space = found.add_space("base", other.identity)
        index(found, space, lambda: other, walks_of(found, targets_of(found, []), Scan()), Indexing(), {})
    again = open_collection(place)
    assert [again.table(name).count_rows() for name in ("mine", "base")] == [10, 10]
    assert len(list((place / "thumbs").rglob("*.webp"))) == 10
    assert not list((place / "thumbs").rglob("*.part"))


def test_a_second_indexer_is_refused_while_the_first_one_works(
    photos: Path, place: Path, encoder: ColourEncoder
) -> None:
    with (
        writing(place),
        pytest.raises(StorageError, match=r"another run is writing here .* choose another --collection"),
    ):
        code = f"from crosscue.search.indexing import *\nwith writing(Path({str(place)!r})): pass"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
        raise StorageError(found.stderr.splitlines()[-1])


def test_stopping_writes_what_is_encoded_and_the_next_run_continues(
    photos: Path, place: Path, encoder: ColourEncoder
) -> None:
    def run(stop: bool) -> object:
        with writing(place) as found:
            space = found.add_space("mine", encoder.identity)
            walks = walks_of(found, targets_of(found, [photos]), Scan())
            found.save()
            options = Indexing(batch_size=2, threads=1)
            return index(found, space, lambda: encoder, walks, options, {}, lambda: stop and encoder.images >= 2)

    outcome = run(True)
    assert outcome.interrupted
    stored = len(rows_of(place))
    assert 2 <= stored == encoder.images < 10
    assert run(False).counts.added == 10 - stored
    assert encoder.images == 10


def test_an_interrupted_run_removes_no_row_whose_file_may_have_moved(
    photos: Path, place: Path, encoder: ColourEncoder
) -> None:
    indexed(place, [photos], encoder)
    (photos / "0.png").rename(photos / "moved.png")
    with writing(place) as found:
        walks = walks_of(found, targets_of(found, [photos]), Scan())
        index(found, found.space(), lambda: encoder, walks, Indexing(), {}, lambda: True)
    assert "0.png" in rows_of(place)
    counts = indexed(place, [photos], encoder).counts
    assert (counts.moved, encoder.images) == (1, 10)


def test_a_power_cut_is_repaired_by_the_next_run_and_its_images_come_back(
    photos: Path, place: Path, encoder: ColourEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    indexed(place, [photos], encoder)
    for number in range(10, 15):
        paint(photos / f"{number}.png", number)
    indexed(place, [photos], encoder)
    table = open_collection(place).table_folder("mine")
    for manifest in manifests(table)[:2]:  # the full-text index, and the rows
        manifest.write_bytes(b"")
    with pytest.raises(CollectionError, match="--repair"):
        open_collection(place).table()
    assert indexed(place, [photos], encoder).counts.added == 5
    assert "went back 2 commits, to 10 rows" in capsys.readouterr().err
    assert len(rows_of(place)) == 15
    for manifest in manifests(table):
        manifest.write_bytes(b"")
    assert indexed(place, [photos], encoder).counts.added == 15
    assert "all images will be read again" in capsys.readouterr().err


def test_a_plan_counts_what_a_run_then_does_and_writes_nothing(
    photos: Path, place: Path, encoder: ColourEncoder
) -> None:
    indexed(place, [photos], encoder)
    (photos / "0.png").rename(photos / "moved.png")
    shutil.copy(photos / "1.png", photos / "copy.png")
    paint(photos / "2.png", 50)
    paint(photos / "new.png", 51)
    (photos / "3.png").unlink()
    (photos / "4.png").write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    collection = open_collection(place)
    walks = walks_of(collection, targets_of(collection, []), Scan())
    expected = planned(collection, "mine", walks, {})
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    counts = indexed(place, [], encoder).counts
    assert str(counts) == str(expected)
    assert str(counts) == (
        "11 images: 1 added, 1 changed, 1 moved, 1 copied, 6 same, 1 removed, 1 unreadable (failures.jsonl)."
    )


def test_captions_of_pairs_and_their_vectors_follow_a_change(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    def run(*captions: str) -> None:
        with writing(place) as found:
            space = found.add_space("mine", encoder.identity)
            walks = walks_of(found, targets_of(found, [photos]), Scan())
            found.save()
            item = next(iter(walks.values())).items[0]
            own = {item.id: Captions(captions, "bird", "test")}
            index(found, space, lambda: encoder, walks, Indexing(captions=True), own)

    run("a dog", "two dogs")
    run("a dog", "a cat")
    assert rows_of(place)["0.png"]["captions"] == ["a dog", "a cat"]
    assert rows_of(place)["0.png"]["category"] == "bird"
    kept = open_collection(place).captions_table().search().to_list()
    assert sorted(row["caption"] for row in kept) == ["a cat", "a dog"]
    expected = encoder.encode_texts([kept[0]["caption"]]).vectors[0]
    assert np.allclose(kept[0]["vector"], expected)
    assert encoder.images == 10
    run("a cat")
    assert open_collection(place).captions_table().count_rows() == 1


def test_a_large_space_gets_its_indices_and_a_measured_recall(
    photos: Path, place: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "SMALLEST", 300)
    monkeypatch.setattr(ingest, "ROWS", 100)
    monkeypatch.setattr(tuning, "QUERIES", 20)
    monkeypatch.setattr(tuning, "CANDIDATES", (50, 200))
    for number in range(10, 320):
        paint(photos / f"{number}.png", number)
    outcome = indexed(place, [photos], encoder)
    found = open_collection(place)
    assert found.space().index.partitions == 4
    assert min(found.space().measured.texts, found.space().measured.images) >= tuning.ENOUGH
    assert "Recall@10 " in str(outcome)
    kinds = {entry.columns[0]: entry.index_type for entry in found.table().list_indices()}
    assert kinds["vector"] == "IvfRq"
    assert set(kinds) == {"vector", "text", *indices.ORDERED, *indices.LISTED}
    for number in range(320, 360):
        paint(photos / f"{number}.png", number)
    indexed(place, [photos], encoder)
    assert indices.unindexed_rows(open_collection(place).table()) == 0, "more than 2 % without an index are added to it"
    with writing(place) as collection:
        space, trials = tuning.tune(collection, collection.space(), encoder)
    best = next(trial for trial in trials if trial.index == space.index)
    assert best.recall >= tuning.ENOUGH
    assert best.cost == min(trial.cost for trial in trials if trial.recall >= tuning.ENOUGH)


def test_a_small_space_has_nothing_to_tune(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    indexed(place, [photos], encoder)
    with writing(place) as collection, pytest.raises(CollectionError, match="no index to tune"):
        tuning.tune(collection, collection.space(), encoder)


@pytest.mark.parametrize(("rows", "partitions"), [(20_000, 32), (100_000, 64), (1_000_000, 256)])
def test_partitions_are_the_power_of_two_nearest_to_a_quarter_of_the_root(rows: int, partitions: int) -> None:
    assert indices.partitions_of(rows) == partitions
    assert indices.first_settings(rows).nprobes == min(64, partitions // 2)


def test_folders_that_are_missing_or_not_named_are_refused(place: Path, tmp_path: Path) -> None:
    with writing(place) as found:
        with pytest.raises(CollectionError, match="nothing to index"):
            targets_of(found, [])
        with pytest.raises(CollectionError, match="no such folder"):
            targets_of(found, [tmp_path / "nowhere"])


@pytest.mark.parametrize("rows", [1, 512])
def test_a_content_that_is_overwritten_and_appears_elsewhere_keeps_its_own_vector(
    tmp_path: Path, place: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(ingest, "ROWS", rows)
    photos = tmp_path / "photos"
    paint(photos / "a.png", 1)
    indexed(place, [photos], encoder)
    before = rows_of(place)["a.png"]["vector"]
    (photos / "a.png").rename(photos / "b.png")
    paint(photos / "a.png", 2)
    counts = indexed(place, [photos], encoder, batch_size=1).counts
    after = rows_of(place)
    assert (counts.images, counts.changed) == (2, 1)
    assert np.allclose(after["b.png"]["vector"], before, atol=1e-6)
    assert not np.allclose(after["a.png"]["vector"], before, atol=1e-2)


def test_damaged_captions_cost_no_image_and_come_back(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    (photos / "0.txt").write_text("a dog\ntwo dogs")
    indexed(place, [photos], encoder, captions=True)
    for manifest in manifests(open_collection(place).table_folder("mine.captions")):
        manifest.write_bytes(b"")
    counts = indexed(place, [photos], encoder).counts
    assert (counts.same, encoder.images) == (10, 10)
    assert open_collection(place).captions_table().count_rows() == 2


def test_vectors_of_captions_follow_the_images_at_later_runs(photos: Path, place: Path, encoder: ColourEncoder) -> None:
    (photos / "0.txt").write_text("a dog")
    (photos / "1.txt").write_text("a cat")
    indexed(place, [photos], encoder, captions=True)
    (photos / "1.png").unlink()
    (photos / "2.txt").write_text("a bird")
    indexed(place, [photos], encoder)
    kept = open_collection(place).captions_table().search().to_list()
    assert sorted(row["caption"] for row in kept) == ["a bird", "a dog"]


def test_a_file_that_the_disk_refuses_keeps_its_row_and_is_tried_again(
    photos: Path, place: Path, encoder: ColourEncoder
) -> None:
    indexed(place, [photos], encoder)
    paint(photos / "0.png", 30)
    paint(photos / "new.png", 31)

    def refusing(path: bytes, mode: str) -> object:
        raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "open", refusing, raising=False)
        assert indexed(place, [photos], encoder).counts.unreadable == 2
    assert len(rows_of(place)) == 10
    assert "cannot be read (Permission denied)" in (place / "failures.jsonl").read_text()
    counts = indexed(place, [photos], encoder).counts
    assert (counts.added, counts.changed, counts.unreadable) == (1, 1, 0)


@pytest.mark.parametrize("line", ["nothing", '{"a": 1}', "[]"])
def test_a_damaged_list_of_failures_is_written_anew(
    photos: Path, place: Path, encoder: ColourEncoder, line: str
) -> None:
    (photos / "0.png").write_bytes(b"")
    indexed(place, [photos], encoder)
    whole = (place / "failures.jsonl").read_text()
    (place / "failures.jsonl").write_text(f"{line}\n")
    assert indexed(place, [photos], encoder).counts.unreadable == 1
    assert (place / "failures.jsonl").read_text() == whole


def test_a_folder_whose_path_is_no_utf8_is_refused(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    with writing(place) as found, pytest.raises(CollectionError, match="no UTF-8"):
        targets_of(found, [folder])


@pytest.mark.parametrize("left", [0, 1])
def test_marks_survive_a_power_cut(
    photos: Path, place: Path, encoder: ColourEncoder, capsys: pytest.CaptureFixture[str], left: int
) -> None:
    indexed(place, [photos], encoder)
    collection = open_collection(place)
    for text in ("a dog", "a cat"):
        add_labels(collection, [Label(text, "1", True)])
    for manifest in manifests(collection.table_folder("_labels"))[: None if left == 0 else 1]:
        manifest.write_bytes(b"")
    damaged = Collection(place)
    damaged._connection = fresh(place / "tables")
    with pytest.raises(CollectionError, match=r"the table of 'marks' cannot be read.*--repair"):
        labels_of(damaged)
    with writing(place) as collection:
        assert [label.text for label in labels_of(collection)] == ["a dog"][:left]
        add_labels(collection, [Label("a bird", "1", True)])
        assert len(labels_of(collection)) == left + 1
    assert "marks" in capsys.readouterr().err
    assert (place / "tables" / "_labels.damaged-1").exists() == (left == 0)
