"""Rows that are computed once for all lists and all runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosscue.data.cached import cached, prune
from crosscue.data.pairs import ImageFile
from crosscue.data.pixels import PixelSpec, PixelStore
from crosscue.data.rows import RowCache
from crosscue.errors import StorageError
from tests.cli import refused, succeeds
from tests.images import draw_noise

SPEC = PixelSpec(8, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Squares:
    """Computes the square of the number that a key is, and notes the keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys, self.made = keys, list[str]()

    def __call__(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        chosen = [self.keys[index] for index in indices]
        self.made += chosen
        return np.array([[float(key) ** 2] for key in chosen], dtype=np.float32)


def filled(folder: Path, keys: Sequence[str], make: Any = None) -> tuple[list[float], list[str]]:
    rows, squares = RowCache(folder, keys, (1,), "float32"), Squares(keys)
    rows.fill(make or squares, 2, "squaring", "rows")
    return rows.read(range(len(keys)))[:, 0].tolist(), squares.made


def test_a_row_is_computed_once_for_every_list(tmp_path: Path) -> None:
    assert filled(tmp_path / "c", "345") == ([9, 16, 25], ["3", "4", "5"])
    assert filled(tmp_path / "c", "53753") == ([25, 9, 49, 25, 9], ["7"])
    assert filled(tmp_path / "c", "7777") == ([49] * 4, [])
    assert filled(tmp_path / "c", "") == ([], [])


def test_what_a_killed_process_finished_is_kept(tmp_path: Path) -> None:
    class Killed(Squares):
        def __call__(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
            if self.made:
                raise KeyboardInterrupt
            return super().__call__(indices)

    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "c", "3456", Killed("3456"))
    (tmp_path / "c" / "9999-killed-earlier").mkdir()
    assert filled(tmp_path / "c", "3456") == ([9, 16, 25, 36], ["5", "6"])
    assert not (tmp_path / "c" / "9999-killed-earlier").exists()


def test_a_damaged_part_is_computed_again(tmp_path: Path) -> None:
    filled(tmp_path / "c", "34")
    (values,) = (tmp_path / "c").glob("*/values.bin")
    values.write_bytes(values.read_bytes()[:-1])
    assert filled(tmp_path / "c", "345") == ([9, 16, 25], ["3", "4", "5"])


def test_two_processes_fill_one_cache_one_after_the_other(tmp_path: Path) -> None:
    keys, folder = [str(number) for number in range(8)], tmp_path / "c"
    script = """
import sys, time
from pathlib import Path
import numpy as np
from crosscue.data.rows import RowCache
def make(indices):
    print("begun", flush=True)
    time.sleep(0.3)
    return np.array([[100.0 + index] for index in indices], dtype=np.float32)
RowCache(Path(sys.argv[1]), [str(n) for n in range(8)], (1,), "float32").fill(make, 2, "adding", "rows")
"""
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        values, made = filled(folder, keys)
    assert other.returncode == 0
    assert values == [100.0 + index for index in range(8)]  # all are those of the other process
    assert made == []
    assert len(list(folder.glob("*/values.bin"))) == 1


def test_lists_of_images_share_what_is_decoded(tmp_path: Path) -> None:
    paths = [draw_noise(tmp_path / f"{seed}.png", seed, 9, 9) for seed in range(4)]
    decoded: list[int] = []

    class Counting(PixelStore):
        def _decode(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
            decoded.extend(indices)
            return super()._decode(indices)

    whole = Counting([ImageFile(path) for path in paths], SPEC)[range(4)]
    some = Counting([ImageFile(paths[place]) for place in (2, 0)], SPEC)[[0, 1]]
    assert (some == whole[[2, 0]]).all()
    assert len(decoded) == 4


def test_a_cache_that_cannot_be_written_is_read(cache: Path, tmp_path: Path) -> None:
    """Root may write anywhere, so the check runs without that right where the tools for it exist."""
    paths = [draw_noise(tmp_path / f"{seed}.png", seed, 9, 9) for seed in range(2)]
    before = PixelStore([ImageFile(paths[0])], SPEC)[[0]]
    for path in [*cache.rglob("*"), cache]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    script = """
import sys
from pathlib import Path
from crosscue.data.pairs import ImageFile
from crosscue.data.pixels import PixelSpec, PixelStore
spec = PixelSpec(8, (0.5,) * 3, (0.5,) * 3)
print(int(PixelStore([ImageFile(Path(sys.argv[1]))], spec)[[0]].sum()))
print(int(PixelStore([ImageFile(Path(name)) for name in sys.argv[1:]], spec)[[1, 0]].sum()))
"""
    rights = "-dac_override,-dac_read_search,-fowner"
    drop = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}"] if os.geteuid() == 0 else []
    try:
        done = subprocess.run([*drop, sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("root without setpriv")
    finally:
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o755)
    both = int(PixelStore([ImageFile(path) for path in paths], SPEC, cache=False)[[0, 1]].sum())
    assert done.stdout.split() == [str(int(before.sum())), str(both)], done.stderr
    assert "cannot be written, so 1 images are kept for this run alone. Or set CROSSCUE_CACHE" in done.stderr
    assert len(list(cache.rglob("values.bin"))) == 1


def test_the_cache_is_listed_and_pruned(cache: Path, tmp_path: Path) -> None:
    for size in (8, 16):
        spec = PixelSpec(size, (0.5,) * 3, (0.5,) * 3)
        PixelStore([ImageFile(draw_noise(tmp_path / "one.png", 1, 20, 20))], spec)[[0]]
    (cache / "wheels").mkdir()
    listed = succeeds("cache")
    assert "1 images, decoded images: 16 px, bicubic, crop, 16" in listed
    assert "fetched  (wheels)" in listed
    assert "crosscue cache --prune 30" in listed
    old = next(entry for entry in cached() if " 8 px" in entry.about)
    os.utime(old.folder / "rows.json", (0, 0))
    assert [entry.about for entry in prune(30)] == [old.about]
    PixelStore([ImageFile(tmp_path / "one.png")], PixelSpec(16, (0.5,) * 3, (0.5,) * 3))[[0]]  # still there
    assert "removed" in succeeds("cache", "--prune", 0)
    assert [entry.about for entry in cached()] == ["fetched"]
    assert "prune is -1" in refused("cache", "--prune", -1)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crosscue.data.rows.reserve", full)
    with pytest.raises(StorageError, match="no space left on the disk"):
        filled(tmp_path / "c", "3")


@pytest.mark.parametrize("place", ["file", "file/inside", "x" * 300])
def test_a_cache_that_cannot_be_a_folder_is_named(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / place))
    with pytest.raises(StorageError, match=r"cannot be written .*Set CROSSCUE_CACHE to a folder"):
        PixelStore([ImageFile(draw_noise(tmp_path / "one.png", 1, 9, 9))], SPEC)[[0]]
