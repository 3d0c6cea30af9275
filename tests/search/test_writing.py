"""Commits, cleaning, recovery from a power cut, and refusals of the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from crosscue.errors import StorageError
from crosscue.search.collection import Collection, create_collection, open_collection
from crosscue.search.recovery import damaged, manifests, recover
from crosscue.search.schema import Record, identifier, rows
from crosscue.search.writing import Writer, clean_temporary
from tests.search.conftest import WIDTH, ColourEncoder, unit

ROOT = Path(__file__).parents[2]


def batch(first: int, count: int, content: str = "c") -> pa.Table:
    vectors = unit(np.random.default_rng(first).standard_normal((count, WIDTH)))
    names = [f"{number}.jpg" for number in range(first, first + count)]
    records = [
        Record(identifier("photos", name.encode()), "photos", name, None, "", name, content, 1, 2, "jpeg", 3, 4)
        for name in names
    ]
    return rows(records, vectors, WIDTH)


@pytest.fixture
def writer(collection: Collection) -> Writer:
    collection.add_space("mine", ColourEncoder().identity)
    return Writer(collection.table("mine"), collection.table_folder("mine"))


def test_rows_are_replaced_by_id_and_some_columns_can_be_written_alone(writer: Writer) -> None:
    writer.upsert(batch(0, 10))
    writer.upsert(batch(5, 10, "new"))
    assert writer.table.count_rows() == 15
    assert writer.table.count_rows("content = 'new'") == 10
    ids = batch(0, 2)["id"]
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("modified", pa.int64())])
    before = writer.table.search().where("path = '0.jpg'").to_list()[0]
    writer.upsert(pa.table([ids, pa.array([7, 8])], schema=schema))
    after = writer.table.search().where("path = '0.jpg'").to_list()[0]
    assert after == before | {"modified": 7}
    writer.delete(batch(0, 15)["id"].to_pylist())
    assert writer.table.count_rows() == 0


def test_every_file_of_a_commit_is_forced_to_the_disk(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: set[str] = set()
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (forced.add(str(Path(f"/proc/self/fd/{handle}").readlink())), fsync(handle))
    )
    writer.upsert(batch(0, 10))
    writer.delete(batch(0, 1)["id"].to_pylist())
    folder = writer.folder
    made = {str(path) for path in folder.rglob("*") if path.is_file()} | {str(folder)}
    made |= {str(folder / name) for name in ("data", "_versions", "_transactions", "_deletions")}
    assert made <= forced


def test_tidying_removes_old_versions_and_old_temporary_files(writer: Writer) -> None:
    for first in range(0, 50, 10):
        writer.upsert(batch(first, 10))
    old, young = writer.folder / "data" / ".tmp_old", writer.folder / "_versions" / ".tmp_young"
    for path in (old, young):
        path.touch()
    os.utime(old, (1, 1))
    clean_temporary(writer.folder)
    assert (old.exists(), young.exists()) == (False, True)
    writer.tidy(grace=0)
    assert len(manifests(writer.folder)) <= 2
    assert len(list((writer.folder / "data").iterdir())) == 1
    assert writer.table.count_rows() == 50


@pytest.mark.parametrize("cut", ["manifest", "half_manifest", "zeroed_manifest", "data", "both", "deletion"])
def test_a_power_cut_costs_the_last_commits_and_nothing_else(collection: Collection, writer: Writer, cut: str) -> None:
    writer.upsert(batch(0, 10))
    writer.upsert(batch(10, 10))
    if cut == "deletion":
        writer.delete(batch(0, 1)["id"].to_pylist())
    newest, folder = manifests(writer.folder)[0], writer.folder
    length = newest.stat().st_size
    last = max((folder / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    if "manifest" in cut or cut == "both":
        newest.write_bytes(
            {"half": newest.read_bytes()[: length // 2], "zeroed": bytes(length)}.get(cut[:4].rstrip("_"), b"")
        )
    if cut in ("data", "both"):
        last.write_bytes(b"")
    if cut == "deletion":
        next((folder / "_deletions").iterdir()).write_bytes(b"")
    said = recover(collection.folder / "tables", "mine", thorough=True)
    left = 20 if cut == "deletion" else 10
    assert said == f"'mine' went back 1 commit, to {left} rows; the others will be read again."
    assert recover(collection.folder / "tables", "mine", thorough=True) is None
    again = open_collection(collection.folder)
    Writer(again.table(), folder).upsert(batch(0, 30))
    assert again.table().count_rows() == 30
    assert (folder / "_quarantine" / newest.name).exists()


def test_a_whole_table_is_not_damaged_and_an_empty_file_is_found_without_reading_rows(writer: Writer) -> None:
    writer.upsert(batch(0, 10))
    assert not damaged(writer.folder)
    next((writer.folder / "data").iterdir()).write_bytes(b"")
    assert damaged(writer.folder)
    next((writer.folder / "data").iterdir()).unlink()
    assert damaged(writer.folder)


def test_two_writers_of_the_same_images_leave_one_row_each(collection: Collection, tmp_path: Path) -> None:
    collection.add_space("mine", ColourEncoder().identity)
    code = (
        "import sys, time; from tests.search.test_writing import *\n"
        f"found = open_collection({str(collection.folder)!r})\n"
        "writer = Writer(found.table(), found.table_folder('mine'))\n"
        f"start, ready = Path({str(tmp_path / 'start')!r}), Path({str(tmp_path)!r}, sys.argv[1])\n"
        "batches = [batch(first, 60) for first in range(0, 600, 60)]\n"
        "ready.touch()\n"
        "while not start.exists(): time.sleep(0.001)\n"
        "for _ in range(5):\n    [writer.upsert(rows) for rows in batches]\n"
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    both = [
        subprocess.Popen([sys.executable, "-c", code, name], env=os.environ | {"PYTHONPATH": path}) for name in "ab"
    ]
    while not all((tmp_path / name).exists() for name in "ab"):
        time.sleep(0.01)
    (tmp_path / "start").touch()
    assert [process.wait() for process in both] == [0, 0]
    collection.refresh()
    ids = collection.table().to_arrow()["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 600


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_leaves_the_table_as_it_was(disk: Path) -> None:
    collection = create_collection(disk / "c")
    collection.add_space("mine", ColourEncoder().identity)
    writer = Writer(collection.table(), collection.table_folder("mine"))
    writer.upsert(batch(0, 10))
    (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 4096))
    with pytest.raises(StorageError, match="no space left"):
        writer.upsert(batch(10, 2000))
    (disk / "filler").unlink()
    again = open_collection(disk / "c")
    assert recover(again.folder / "tables", "mine", thorough=True) is None
    assert again.table().count_rows() == 10
    Writer(again.table(), writer.folder).upsert(batch(10, 20))
    assert again.table().count_rows() == 30


def test_without_room_to_compact_a_table_stays_as_it_is(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collection = create_collection(disk / "c")
    collection.add_space("mine", ColourEncoder().identity)
    writer = Writer(collection.table(), collection.table_folder("mine"))
    for first in range(0, 20, 10):
        writer.upsert(batch(first, 10))
    (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 8192))
    writer.tidy()
    assert "mine.lance is not compacted" in capsys.readouterr().err
    assert len(list((writer.folder / "data").iterdir())) == 2


def test_a_read_only_disk_is_refused(disk: Path) -> None:
    collection = create_collection(disk / "c")
    collection.add_space("mine", ColourEncoder().identity)
    writer = Writer(collection.table(), collection.table_folder("mine"))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StorageError, match="cannot be written"):
        writer.upsert(batch(0, 10))
