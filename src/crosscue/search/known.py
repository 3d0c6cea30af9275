"""Parts of a table that every query of its space needs, read once for each version.

The vectors of a small space stay in memory: a product of 20,000 takes 3 ms, and Lance reads them from the disk for every query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crosscue.search.background import SIZE, fixed_sample
from crosscue.search.connection import answer, asynchronous
from crosscue.search.indices import SMALLEST
from crosscue.search.schema import COMPUTED, LOOKS, VECTOR, lists_of, vectors_of

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Floats, Pixels


@dataclass(frozen=True)
class Scored:
    """N rows with what the order of hits needs, best first."""

    rows: list[int]
    """Row ids of Lance."""
    scores: Floats
    """(N,) cosines with the query."""
    hubness: Floats
    """(N,) 0 where the space has none."""
    looks: Pixels
    """(N, 192) see `crosscue.search.grouping`."""


@dataclass(frozen=True)
class Resident:
    """All N images of a small space."""

    rows: np.ndarray
    """(N,) row ids of Lance."""
    vectors: Floats
    """(N, D)"""
    hubness: Floats
    looks: Pixels

    def nearest(self, vector: Floats, count: int) -> Scored:
        """Returns the `count` rows that are nearest to a vector (D,)."""
        scores = self.vectors @ vector  # (N,)
        best = np.argsort(-scores, kind="stable")[:count]
        return Scored(self.rows[best].tolist(), scores[best], self.hubness[best], self.looks[best])


@dataclass(frozen=True)
class Known:
    """Parts of one version of a table that every query of its space needs."""

    version: int
    sample: Floats
    """(n, D) the fixed random images of the background."""
    words: bool
    """True if the table has its index of words."""
    resident: Resident | None
    """None: the space is large."""


def version_of(table: Any) -> int:
    """Returns the version of a table that its next query reads."""
    return int(answer(asynchronous(table).version()))


def known_of(table: Any, version: int, *, indexed: bool) -> Known:
    """Returns what queries need of a version of a table; `indexed` if its vectors have an index."""
    words = any("text" in index.columns for index in table.list_indices())
    if indexed or table.count_rows() >= SMALLEST:
        return Known(version, fixed_sample(table), words, None)
    every = table.search().select(["id", *COMPUTED, VECTOR]).with_row_id(True).to_arrow()
    vectors = vectors_of(every)
    first = np.argsort(every["id"].to_numpy(), kind="stable")[:SIZE]
    return Known(
        version,
        vectors[first],
        words,
        Resident(every["_rowid"].to_numpy(), vectors, hubness_of(every), looks_of(every)),
    )


def hubness_of(rows: pa.Table) -> Floats:
    """Returns (N,) the hubness of some rows, 0 where they have none or it was not read."""
    if "hubness" not in rows.column_names:
        return np.zeros(len(rows), np.float32)
    return np.nan_to_num(rows["hubness"].to_numpy()).astype(np.float32)


def looks_of(rows: pa.Table) -> Pixels:
    """Returns (N, 192) the looks of some rows, 0 where they were not read."""
    if not len(rows) or "looks" not in rows.column_names:
        return np.zeros((len(rows), LOOKS), np.uint8)
    looks: Pixels = lists_of(rows, "looks")
    return looks
