"""Kill -9 at random points of indexing, compaction and index building: nothing is lost or doubled.

CROSSCUE_KILLS=60 kills sixty times.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from crosscue.search.collection import open_collection
from tests.search.conftest import paint, rows_of

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CROSSCUE_KILLS", "2"))


def start(place: Path, folder: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.search.killed", str(place), str(folder)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, text=True, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    return process


def change(folder: Path, chance: random.Random, step: int) -> None:
    """Adds, changes, moves and removes images."""
    for number in range(70):
        image = paint(folder / f"{step}" / f"{number}.png", 1000 * step + number)
        if number % 5 == 0:
            image.with_suffix(".txt").write_text(f"caption {step} {number}\n")
    present = sorted(folder.rglob("*.png"))
    for path in chance.sample(present, 20):
        path.unlink()
    for path in chance.sample(sorted(folder.rglob("*.png")), 20):
        path.rename(path.with_name(f"moved-{step}-{path.name}"))
    for number, path in enumerate(chance.sample(sorted(folder.rglob("*.png")), 10)):
        paint(path, 900_000 + 100 * step + number)


@pytest.mark.slow
def test_killed_at_random_points_the_rows_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    chance = random.Random(0)
    killed, calm, folder = tmp_path / "killed", tmp_path / "calm", tmp_path / "photos"
    change(folder, chance, 0)
    process, started = start(killed, folder), time.monotonic()
    assert process.communicate()[0] == "done\n"
    lasted, during = time.monotonic() - started, 0
    for step in range(1, KILLS + 1):
        if step % 3 == 1:
            change(folder, chance, step)
        process = start(killed, folder)
        time.sleep(chance.uniform(0, lasted))
        process.kill()
        during += "done" not in process.communicate()[0]
    for place in (killed, calm):
        assert start(place, folder).communicate()[0] == "done\n"
    assert during >= KILLS // 2, "most kills must hit a working process"
    (left, left_numbers), (right, right_numbers) = stored(killed), stored(calm)
    assert [row for row in left if row not in right] == [row for row in right if row not in left] == []
    assert np.allclose(left_numbers, right_numbers, atol=1e-5)
    table = open_collection(killed).table()
    assert {index.index_type for index in table.list_indices()} >= {"IvfRq", "FTS"}
    found = table.search("moved", query_type="fts").limit(1000).to_list()
    assert {row["path"] for row in found} == {path for path in rows_of(killed) if "moved" in path}
    captions = [
        sorted(open_collection(place).captions_table().to_arrow()["caption"].to_pylist()) for place in (killed, calm)
    ]
    assert captions[0] == captions[1] != []


def stored(place: Path) -> tuple[list[dict[str, object]], np.ndarray]:
    """All columns of all rows but the time of indexing, by id; vectors and hubness (N, D + 1) apart, as batches round them."""
    rows = sorted(open_collection(place).table("mine").search().to_list(), key=lambda row: str(row["id"]))
    assert len({row["id"] for row in rows}) == len(rows)
    numbers = np.array([[*row.pop("vector"), row.pop("hubness")] for row in rows])
    return [{name: value for name, value in row.items() if name != "indexed_at"} for row in rows], numbers
