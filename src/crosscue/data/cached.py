"""The content of the cache folder: computed rows of images, and files that were fetched."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from crosscue.data.rows import ABOUT, KEY, KEYS
from crosscue.storage import cache_dir, read_json, writing

COMPUTED = ("pixels", "states")
"""Folders of the cache whose content is computed from images, a folder each computation."""
DAY = 86_400


@dataclass(frozen=True)
class Cached:
    """A folder in the cache."""

    folder: Path
    about: str
    images: int
    size: int
    """Bytes on disk."""
    idle: float
    """Days since its last use."""

    @property
    def computed(self) -> bool:
        """True if the content can be computed again from images."""
        return self.folder.parent.name in COMPUTED


def cached() -> list[Cached]:
    """Returns the folders of the cache, the largest first."""
    root = cache_dir()
    parents = [*(root / name for name in COMPUTED), root]
    folders = [path for parent in parents if parent.is_dir() for path in parent.iterdir() if path.is_dir()]
    return sorted(
        (_of(path) for path in folders if path.parent != root or path.name not in COMPUTED), key=lambda one: -one.size
    )


def prune(days: float) -> Iterator[Cached]:
    """Removes computations that were not used for some days, and yields them; one that is being filled is kept.

    Raises:
        StorageError: the cache cannot be written.
    """
    for entry in cached():
        if not entry.computed or entry.idle < days:
            continue
        with writing(entry.folder):
            lock = FileLock(entry.folder / ".filling", timeout=0)
            try:
                with lock:
                    shutil.rmtree(entry.folder)
            except Timeout:
                continue
        yield entry


def _of(folder: Path) -> Cached:
    about, used = folder / ABOUT, folder.stat().st_mtime
    text = "fetched"
    if about.exists():
        text, used = str(read_json(about).get("about")), about.stat().st_mtime
    keys = sum(path.stat().st_size for path in folder.glob(f"*/{KEYS}"))
    size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    return Cached(folder, text, keys // KEY, size, (time.time() - used) / DAY)
