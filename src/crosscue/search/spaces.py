"""Spaces of a collection: the vectors of all images by one run, with the index over them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscue.encoding.encoder import Identity


@dataclass(frozen=True)
class VectorIndex:
    """The approximate index of a space, and the settings of a query that were measured for it."""

    partitions: int
    rows: int
    """Rows when it was trained; it is trained again when they have doubled."""
    nprobes: int
    """Partitions that a query reads."""
    candidates: int = 200
    """Candidates that are scored again with their full vectors; at least 4 for each result."""
    bits: int = 1
    """Bits of a dimension in the codes of the index."""

    def pool(self, k: int) -> int:
        """Returns the number of candidates of a query for `k` results."""
        return max(self.candidates, 4 * k)

    def refinement(self, k: int, rows: int) -> int:
        """Returns how many candidates are scored for each of `rows` rows that a query for `k` results reads."""
        return -(-self.pool(k) // rows)


@dataclass(frozen=True)
class Measured:
    """Recall@10 of the index against the exact answer, and the cost of a query."""

    texts: float
    """Recall of text queries, 0 .. 1."""
    images: float
    texts_cpu_ms: float
    images_cpu_ms: float
    rows: int
    """Rows when it was measured."""


@dataclass(frozen=True)
class Space:
    """The vectors of all images by one run."""

    name: str
    identity: Identity
    index: VectorIndex | None = None
    """None: a query reads every vector, which is exact."""
    measured: Measured | None = None
    whole: bool = False
    """True once a run has ended that indexed all images. Until then a search without a name prefers another space."""


def space_of(name: str, entry: dict[str, Any]) -> Space:
    """Returns a space from its record in collection.json; one without `whole` is whole. Raises KeyError or TypeError for another record."""
    index, measured = entry["index"], entry["measured"]
    return Space(
        name,
        Identity(**entry["identity"]),
        None if index is None else VectorIndex(**index),
        None if measured is None else Measured(**measured),
        entry.get("whole", True),
    )


def space_name(source: str) -> str:
    """Returns the name of a space for a run: the name of its folder, with - for what no file name has."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source).name).strip("-_")[:64] or "run"
