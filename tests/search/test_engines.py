"""Workers in processes of their own, against the index of one process; workers and drivers that are killed."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("lance")

from crosscue.errors import CollectionError, StorageError
from crosscue.search.collection import Collection
from crosscue.search.connection import dataset
from crosscue.search.engines import Local, OpenedWorker, Worker
from crosscue.search.indexing import Indexing, Outcome, Spread, index, targets_of, walks_of, writing
from crosscue.search.lease import ENTRY, Holder, holder_of
from crosscue.search.shards import shard_of
from tests.cli import refused
from tests.search.conftest import WIDTH, ColourEncoder, indexed, paint, rows_of

ROOT = Path(__file__).parents[2]


class SlowEncoder(ColourEncoder):
    """An encoder that takes a while, so that it can be killed at work. It kills its own process on an image of this mark."""

    def __init__(
        self, seconds: float = 0.0, poison: str | None = None, full: bool = False, at_work: Path | None = None
    ) -> None:
        super().__init__(bank=True)
        self.seconds, self.poison, self.full, self.at_work = seconds, poison, full, at_work

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        if self.full:
            raise StorageError("no space left on the disk")
        if self.at_work is not None:
            (self.at_work / str(os.getpid())).touch()
        time.sleep(self.seconds)
        vectors = super().encode_images(pixels)
        if self.poison is not None and any(sign(vector) == self.poison for vector in vectors):
            os.kill(os.getpid(), signal.SIGKILL)
        return vectors


def sign(vector: np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in vector[:4])


def spread_over(place: Path, folder: Path, workers: int = 2, **encoder: object) -> Outcome:
    opens = functools.partial(SlowEncoder, **encoder)
    with writing(place) as found:
        return spread_index(found, folder, opens, workers)


def spread_index(found: Collection, folder: Path, opens: functools.partial[SlowEncoder], workers: int) -> Outcome:
    space = found.add_space("mine", opens().identity)
    options = Indexing(batch_size=4, threads=1)
    walks = walks_of(found, targets_of(found, [folder]), options.scan)
    found.save()
    return index(found, space, opens, walks, options, {}, spread=Spread(Local(workers), opens, 8, 0.3))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "photos"
    for number in range(30):
        paint(folder / f"{number}.png", number % 27)  # three copies
        (folder / f"{number}.txt").write_text(f"caption {number}\n")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def calm(photos: Path) -> tuple[Outcome, dict[str, dict[str, object]]]:
    place = photos.parent / "calm"
    return indexed(place, [photos], ColourEncoder(bank=True)), rows_of(place)


def assert_equal(place: Path, calm: dict[str, dict[str, object]]) -> None:
    found = rows_of(place)
    assert found.keys() == calm.keys()
    for path, row in found.items():
        for name in ("vector", "hubness"):
            assert np.allclose(row[name], calm[path][name], atol=1e-6)
        others = [name for name in row if name not in ("vector", "hubness", "indexed_at")]
        assert [row[name] for name in others] == [calm[path][name] for name in others]


def test_workers_write_the_rows_of_one_process(photos: Path, tmp_path: Path, calm: tuple[Outcome, dict]) -> None:
    outcome = spread_over(tmp_path / "c", photos)
    assert_equal(tmp_path / "c", calm[1])
    assert (str(outcome.counts), len(rows_of(tmp_path / "c"))) == (str(calm[0].counts), 30)
    again = spread_over(tmp_path / "c", photos)
    assert str(again.counts) == "31 images: 0 added, 30 same, 1 unreadable (failures.jsonl)."


def test_a_lease_is_held_against_workers_and_given_up_whatever_happens(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    with writing(place) as found:
        address = str(found.table_folder(found.add_space("mine", ColourEncoder().identity).name))
    now = int(time.time())
    dataset(address).update_config({ENTRY: str(Holder("x", "elsewhere", 7, now, now + 600))})
    with pytest.raises(CollectionError, match=r"being written by elsewhere pid 7 since \d\d:\d\d \(lease until"):
        spread_over(place, photos)
    dataset(address).delete_config_keys([ENTRY])
    with pytest.raises(StorageError, match="no space"):
        spread_over(place, photos, full=True)
    assert holder_of(address) is None
    assert rows_of(place) == {}


def test_an_image_that_ends_its_process_is_the_only_failure(
    photos: Path, tmp_path: Path, calm: tuple[Outcome, dict]
) -> None:
    poison = sign(np.array(calm[1]["20.png"]["vector"]))
    outcome = spread_over(tmp_path / "c", photos, 1, poison=poison)
    assert rows_of(tmp_path / "c").keys() == calm[1].keys() - {"20.png"}
    assert outcome.counts.unreadable == 2
    assert "ended 3 processes that read it (signal 9)" in (tmp_path / "c" / "failures.jsonl").read_text()


def test_a_killed_worker_costs_no_image(photos: Path, tmp_path: Path, calm: tuple[Outcome, dict]) -> None:
    at_work, killed = tmp_path / "at_work", set[int]()
    at_work.mkdir()

    def kill() -> None:
        until = time.monotonic() + 60
        while len(killed) < 2 and time.monotonic() < until:
            for worker in {int(entry.name) for entry in at_work.iterdir()} - killed:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
            time.sleep(0.05)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    spread_over(tmp_path / "c", photos, seconds=0.5, at_work=at_work)
    killer.join(60)
    assert len(killed) >= 2
    assert_equal(tmp_path / "c", calm[1])


def test_a_killed_driver_loses_no_commit_and_leaves_no_worker(
    photos: Path, tmp_path: Path, calm: tuple[Outcome, dict]
) -> None:
    place = tmp_path / "c"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.search.test_engines", str(place), str(photos)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path})
    versions = place / "tables" / "mine.lance" / "data"
    until = time.monotonic() + 120
    while len(list(versions.glob("*.lance"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(children, 10)
    assert not alive
    assert len(gone) >= 2
    spread_over(place, photos)
    assert_equal(place, calm[1])


def test_workers_that_cannot_open_their_encoder_end_the_run(photos: Path, tmp_path: Path) -> None:
    with writing(tmp_path / "c") as found, pytest.raises(CollectionError, match=r"3 processes .* \(exit code 3\)"):
        space = found.add_space("mine", ColourEncoder().identity)
        walks = walks_of(found, targets_of(found, [photos]), Indexing().scan)
        index(
            found, space, ColourEncoder, walks, Indexing(), {}, spread=Spread(Local(1), functools.partial(os._exit, 3))
        )


def test_a_worker_on_another_machine_makes_no_folder_for_thumbnails(photos: Path, tmp_path: Path) -> None:
    with writing(tmp_path / "c") as found:
        space = found.add_space("mine", ColourEncoder().identity)
        walks = walks_of(found, targets_of(found, [photos]), Indexing().scan)
        table = str(found.table_folder(space.name))
        items = next(iter(walks.values())).items[:3]
        for place in ("c", "elsewhere"):
            worker = Worker(ColourEncoder, space.identity.run, table, WIDTH, found.roots, tmp_path / place / "thumbs")
            assert OpenedWorker(worker)(shard_of(items)).rows > 0
    assert (tmp_path / "c" / "thumbs").is_dir()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", 0), "workers is 0; it must be at least 1"),
        (("--shard", 9), "shard has no effect without --workers N"),
        (("--workers", 2, "--commit_seconds", 0), "commit_seconds is 0; it must be above 0"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[object, ...], message: str, photos: Path) -> None:
    assert message in refused("index", photos, *arguments)


if __name__ == "__main__":
    spread_over(Path(sys.argv[1]), Path(sys.argv[2]), seconds=0.5)
