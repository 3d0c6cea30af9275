"""A table of equal rows on disk: filled once, kept over an interruption, read through a memory map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crosscue.progress import progress
from crosscue.storage import require_space, reserve, write_json, writing

Block = tuple[Sequence[int], np.ndarray[Any, Any]]
"""Indices of rows, and their values."""


class RowCache:
    """(N, *shape) values in one file, and beside it one byte a row that marks the finished ones.

    A row is marked after its values are written, so a killed process leaves each row absent or right.
    """

    def __init__(self, folder: Path, count: int, shape: tuple[int, ...], dtype: str) -> None:
        self.folder, self.count, self.shape, self.dtype = folder, count, shape, np.dtype(dtype)
        size = count * int(np.prod(shape)) * self.dtype.itemsize
        if not (folder / "rows.json").exists():
            require_space(folder, size)
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                reserve(folder / "values.bin", size)
                reserve(folder / "done.bin", count)
                write_json(folder / "rows.json", {"count": count, "shape": shape, "dtype": dtype})
        self.values = np.memmap(folder / "values.bin", self.dtype, "r+", shape=(count, *shape))
        self.done = np.memmap(folder / "done.bin", "u1", "r+", shape=(count,))

    def missing(self) -> list[int]:
        """Returns the indices of the rows that are not finished."""
        return [int(row) for row in np.flatnonzero(np.asarray(self.done) == 0)]

    def fill(self, blocks: Iterable[Block], total: int, description: str, unit: str) -> None:
        """Writes blocks of rows in the order of their arrival, with a progress bar."""
        with progress(description, total, unit) as advance:
            for rows, values in blocks:
                index = np.asarray(rows)
                with writing(self.folder):
                    self.values[index] = values
                    self.values.flush()
                    self.done[index] = 1
                    self.done.flush()
                advance(len(index))

    def read(self, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        """Returns a copy of the given rows."""
        return np.array(self.values[np.asarray(rows, dtype=np.int64)])


def blocks_of(rows: Sequence[int], size: int, make: Callable[[Sequence[int]], np.ndarray[Any, Any]]) -> Iterable[Block]:
    """Yields `make(rows)` for consecutive groups of at most `size` rows."""
    for start in range(0, len(rows), size):
        group = rows[start : start + size]
        yield group, make(group)
