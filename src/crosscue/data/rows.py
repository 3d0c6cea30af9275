"""Rows by key on disk: each computed once, shared by all lists and runs, kept over an interruption, read through memory maps."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crosscue.locks import locked
from crosscue.progress import note, progress
from crosscue.storage import require_space, reserve, write_json, writing

ABOUT, KEYS, VALUES, DONE = "rows.json", "keys.bin", "values.bin", "done.bin"
ELSEWHERE = "set CROSSCUE_CACHE to a folder that can be written"
KEY = 16
"""Bytes of a key on disk."""
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Refusals of a folder that may be read and not written."""
Make = Callable[[Sequence[int]], np.ndarray[Any, Any]]
"""Computes the rows of some indices."""


class RowCache:
    """The rows of a list of keys in a folder that holds one computation for any images.

    The folder has parts: a file of keys, one of values, and one byte a row that marks the finished ones. A row is marked
    after its values are written, so a killed process leaves each row absent or right. One process at a time adds a part.
    """

    def __init__(self, folder: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str, about: str = "") -> None:
        """Finds the rows that are there.

        Args:
            folder: the folder of the computation.
            keys: a text for each row, equal for equal rows.
            shape: shape of a row.
            dtype: dtype of the values.
            about: the computation in words.
        """
        self.folder, self.shape, self.dtype, self.about = folder, shape, np.dtype(dtype), about
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.keys = [hashlib.sha256(key.encode()).digest()[:KEY] for key in keys]
        with writing(folder, ELSEWHERE):
            self._find()

    def _find(self) -> None:
        """Notes for each key the part and the row that hold it."""
        self._parts: list[np.ndarray[Any, Any]] = []
        place: dict[bytes, tuple[int, int]] = {}
        folders = [self.folder, *([Path(self._temporary.name)] if self._temporary else [])]
        for part in (part for folder in folders for part in sorted(folder.glob(f"*/{KEYS}"))):
            names = np.fromfile(part, dtype=f"V{KEY}")
            done = np.fromfile(part.parent / DONE, dtype="u1")
            whole = (len(names), *self.shape)
            size = int(np.prod(whole)) * self.dtype.itemsize
            if len(done) != len(names) or (part.parent / VALUES).stat().st_size != size:
                continue  # a damaged copy; its rows are computed again
            self._parts.append(np.memmap(part.parent / VALUES, self.dtype, "r", shape=whole))
            place |= {names[row].tobytes(): (len(self._parts) - 1, int(row)) for row in np.flatnonzero(done)}
        self._place = np.array([place.get(key, (-1, -1)) for key in self.keys], dtype=np.int64).reshape(-1, 2)

    def missing(self) -> list[int]:
        """Returns the indices of the rows that are not there, one for each key."""
        first: dict[bytes, int] = {}
        for index in np.flatnonzero(self._place[:, 0] < 0):
            first.setdefault(self.keys[index], int(index))
        return list(first.values())

    def fill(self, make: Make, block: int, description: str, unit: str) -> None:
        """Computes the rows that are not there, `block` at a time; waits for another process that adds to the folder.

        Beside a folder that is only read, they are kept in a temporary folder, as long as this object.

        Raises:
            StorageError: the folder cannot be one, or the disk is full.
        """
        if not self.missing():
            with contextlib.suppress(OSError):  # a cache that is only read has no date of use
                os.utime(self.folder / ABOUT)
            return
        with writing(self.folder, ELSEWHERE), self._writable(unit) as place:
            self._find()
            missing = self.missing()
            if missing:
                self._add(place, missing, make, block, description, unit)
                self._find()

    @contextlib.contextmanager
    def _writable(self, unit: str) -> Iterator[Path]:
        """Yields the folder for a new part, locked; a temporary one where the folder is only read."""
        place, waiting = self.folder, f"waiting for another run that fills {self.folder}"
        with contextlib.ExitStack() as held:
            try:
                place.mkdir(parents=True, exist_ok=True)
                if not os.access(place, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                held.enter_context(locked(place / ".filling", waiting))
            except OSError as error:
                if error.errno not in READ_ONLY:
                    raise
                kept = f"{len(self.missing()):,} {unit} are kept for this run alone"
                note(f"{place}: cannot be written, so {kept}. Or {ELSEWHERE}")
                self._temporary = tempfile.TemporaryDirectory(prefix="crosscue-")
                place = Path(self._temporary.name)
            yield place

    def _add(self, folder: Path, missing: Sequence[int], make: Make, block: int, description: str, unit: str) -> None:
        for killed in folder.glob("*/"):
            if not (killed / KEYS).exists():
                shutil.rmtree(killed)
        size = len(missing) * int(np.prod(self.shape)) * self.dtype.itemsize
        require_space(folder, size)
        write_json(folder / ABOUT, {"about": self.about, "shape": self.shape, "dtype": str(self.dtype)})
        part = Path(tempfile.mkdtemp(dir=folder, prefix=f"{len(self._parts):04d}-"))
        part.chmod(0o755)
        reserve(part / VALUES, size)
        reserve(part / DONE, len(missing))
        values = np.memmap(part / VALUES, self.dtype, "r+", shape=(len(missing), *self.shape))
        done = np.memmap(part / DONE, "u1", "r+", shape=(len(missing),))
        (part / KEYS).write_bytes(
            b"".join(self.keys[index] for index in missing)
        )  # last, so that readers see whole parts
        with progress(description, len(missing), unit) as advance:
            for start in range(0, len(missing), block):
                indices = missing[start : start + block]
                values[start : start + len(indices)] = make(indices)
                values.flush()
                done[start : start + len(indices)] = 1
                done.flush()
                advance(len(indices))

    def read(self, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        """Returns a copy of the given rows, which are there."""
        places = self._place[np.asarray(rows, dtype=np.int64)]
        found = np.empty((len(places), *self.shape), self.dtype)
        for part in np.unique(places[:, 0]):
            own = places[:, 0] == part
            found[own] = self._parts[part][places[own, 1]]
        return found
