"""Shards of a plan: workers write their rows as files that nobody sees, and a driver alone commits them.

A worker that is lost leaves files and no rows. A driver that is lost loses the commits of one interval, and the next plan
reads their images again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscue.search.connection import dataset
from crosscue.search.refusals import refusals
from crosscue.search.writing import force

if TYPE_CHECKING:
    from crosscue.search.reading import Failure
    from crosscue.search.scanning import Item

IMAGES = 2048
"""Images of a shard."""


@dataclass(frozen=True)
class Shard:
    """Images that one worker reads and encodes."""

    name: str
    """A hash of their ids: equal plans have equal names."""
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Written:
    """The answer of a worker."""

    shard: str
    fragments: tuple[str, ...]
    """Records of the files, in JSON. They hold rows once a driver has committed them."""
    rows: int
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    node: str = ""


@dataclass(frozen=True)
class Lost:
    """A shard whose worker ended before it answered."""

    shard: Shard
    reason: str


def shard_of(items: Iterable[Item]) -> Shard:
    """Returns the shard of some images."""
    listed = tuple(sorted(items, key=lambda item: item.id))
    name = hashlib.blake2b("".join(item.id for item in listed).encode(), digest_size=16).hexdigest()
    return Shard(name, listed)


def shards_of(items: Iterable[Item], size: int = IMAGES) -> Iterator[Shard]:
    """Yields the shards of a plan, by id."""
    listed = sorted(items, key=lambda item: item.id)
    for start in range(0, len(listed), size):
        yield shard_of(listed[start : start + size])


def write(table: str, rows: Any) -> tuple[str, ...]:
    """Writes rows as fragments that are not committed, forces them to the disk, and returns their records.

    Args:
        table: folder or address of the table.
        rows: an Arrow table with all columns of the table.
    """
    if not rows.num_rows:
        return ()
    found = dataset(table)
    from lance.fragment import write_fragments

    with refusals(table):
        written = write_fragments(rows, found, mode="append")
    if "://" not in table:
        data = os.path.join(table, "data")  # noqa: PTH118
        for fragment in written:
            for file in fragment.files:
                force(os.path.join(data, file.path))  # noqa: PTH118
        force(data)
    return tuple(json.dumps(fragment.to_json()) for fragment in written)
