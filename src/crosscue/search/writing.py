"""Commits to a table that survive a power cut, and the removal of what they leave behind.

Lance renames a finished manifest into place and forces nothing to the disk, so a power cut can leave an empty one. After
each commit all new files and their folders are forced to the disk here.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from crosscue.errors import StorageError
from crosscue.progress import note
from crosscue.search.refusals import refusals
from crosscue.search.schema import COMPUTED, KEY, VECTOR
from crosscue.storage import require_space

PARTS = ("data", "_deletions", "_transactions", "_indices", "_versions")
"""Folders of a table, the manifests last."""
COMMITS = 64
"""Commits between two compactions."""
GRACE = 3600
"""Seconds that an old version, or a temporary file, is kept: a reader may still use it."""
CHUNK = 1000
"""Ids in one condition."""


class Writer:
    """Writes the rows of one table. The caller holds the lock of the collection; marks (`labels`) are written without it."""

    def __init__(self, table: Any, folder: Path | None) -> None:
        """Takes a table.

        Args:
            table: the opened table.
            folder: its folder, `tables/NAME.lance`; None in an object store, which finishes each file itself.
        """
        self.table, self.folder = table, folder
        self.place = str(folder or table.name)
        self._commits = 0
        self._forced: set[str] = set()

    def upsert(self, rows: Any) -> None:
        """Inserts rows, or replaces those of the same id. `rows` may have some of the columns, if all ids exist.

        Raises:
            StorageError: the disk is full or refuses; the table is as it was.
        """
        merge = self.table.merge_insert(KEY).when_matched_update_all()
        if set(rows.schema.names) == set(self.table.schema.names):
            merge = merge.when_not_matched_insert_all()
        with refusals(self.place):
            merge.execute(rows)
            self._commit()

    def delete(self, ids: Sequence[str], column: str = KEY) -> None:
        """Deletes the rows whose column has one of the ids, which are hexadecimal."""
        for start in range(0, len(ids), CHUNK):
            with refusals(self.place):
                self.table.delete(among(column, ids[start : start + CHUNK]))
                self._commit()

    def computed(self, ids: Sequence[str]) -> Any:
        """Returns id, vector and what is computed with it of the rows of some ids, as an Arrow table."""
        return self.table.search().where(among(KEY, ids)).select([KEY, *COMPUTED, VECTOR]).to_arrow()

    @property
    def fragments(self) -> int:
        """Number of files that hold the rows."""
        return int(self.table.stats()["fragment_stats"]["num_fragments"])

    def _commit(self) -> None:
        self.force()
        self._commits += 1
        if self._commits % COMMITS == 0:
            self.tidy()

    def tidy(self, *, grace: float = GRACE) -> None:
        """Joins small fragments, adds new rows to the indices, and removes old versions and temporary files."""
        if self.folder is not None:
            clean_temporary(self.folder, grace)
            try:
                require_space(self.folder, 3 * size_of(self.folder / "data"))
            except StorageError as error:
                note(f"{self.folder.name} is not compacted: {error}")
                return
        with refusals(self.place):
            self.table.optimize(
                cleanup_older_than=datetime.timedelta(seconds=grace),
                delete_unverified=self.folder is not None,  # the lock does not reach other writers of an object store
            )

    def join(self) -> None:
        """Joins small fragments while other processes may write: what they have not finished yet is left alone."""
        with contextlib.suppress(
            RuntimeError, OSError
        ):  # another process has changed the same rows; a later call joins them
            self.table.optimize(cleanup_older_than=datetime.timedelta(seconds=GRACE))
            self.force()

    def force(self) -> None:
        """Forces all files that this writer has not forced yet, and their folders, to the disk."""
        if self.folder is None:
            return
        for part in PARTS:
            folders = set()
            for path in files_under(self.folder / part):
                if path not in self._forced:
                    force(path)
                    folders.add(os.path.dirname(path))  # noqa: PTH120
                    if not path.endswith(".json"):  # the hint is written again at each commit
                        self._forced.add(path)
            for folder in sorted(folders, key=len, reverse=True):
                force(folder)
        force(str(self.folder))


def among(column: str, ids: Sequence[str]) -> str:
    """Returns the condition that a column has one of the ids, which are hexadecimal."""
    listed = ", ".join(f"'{one}'" for one in ids)
    return f"{column} IN ({listed})"


def files_under(folder: Path) -> Iterator[str]:
    """Yields the paths of all files under a folder; nothing where there is no such folder."""
    for root, _, names in os.walk(folder):
        for name in names:
            yield f"{root}/{name}"


def size_of(folder: Path) -> int:
    """Returns the bytes of all files under a folder."""
    total = 0
    for path in files_under(folder):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(path).st_size  # noqa: PTH116
    return total


def clean_temporary(folder: Path, grace: float = GRACE) -> None:
    """Removes the temporary files of writers that were killed, once they are older than `grace` seconds."""
    before = time.time() - grace
    for path in files_under(folder):
        with contextlib.suppress(FileNotFoundError):
            if ".tmp" in os.path.basename(path) and os.stat(path).st_mtime < before:  # noqa: PTH116, PTH119
                os.unlink(path)  # noqa: PTH108


def force(path: str) -> None:
    """Forces one file or folder to the disk; does nothing if it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # cleaned up since it was listed
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
