"""Columns of a collection's tables, and rows for them."""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from crosscue.encoding.encoder import Floats, Pixels
from crosscue.errors import CollectionError

LOOKS = 192
"""Numbers of `looks`: 8 x 8 cells, three colours."""
KEY = "id"
"""Primary key: two writers that insert one image leave one row."""
COLUMNS: dict[str, Any] = {
    "id": pa.string(),
    "root": pa.string(),
    "path": pa.string(),
    "raw": pa.binary(),
    "folder": pa.string(),
    "name": pa.string(),
    "content": pa.string(),
    "size": pa.int64(),
    "modified": pa.int64(),
    "format": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "taken": pa.timestamp("us"),
    "latitude": pa.float32(),
    "longitude": pa.float32(),
    "camera": pa.string(),
    "captions": pa.list_(pa.string()),
    "category": pa.string(),
    "split": pa.string(),
    "text": pa.string(),
    "sidecar": pa.string(),
    "indexed_at": pa.timestamp("us"),
    "hubness": pa.float32(),
    "looks": pa.list_(pa.uint8(), LOOKS),
}
"""Column -> Arrow type, without the vector. A column of `Record` has its meaning there."""
COMPUTED = ("hubness", "looks")
"""Columns that are computed with the vector, and copied with it: `TextBank.hubness`, and `grouping.looks_of`."""
VECTOR = "vector"
DISTANCE = "_distance"
"""Column of a vector query: 1 - the cosine."""


@dataclass(frozen=True)
class Record:
    """All columns of one image but its vector and those that are computed with it."""

    id: str
    """See `identifier`: opaque, and the only name of an image in addresses."""
    root: str
    """Name of the root folder in `collection.json`."""
    path: str
    """Path below the root: POSIX, NFC, for people and filters."""
    raw: bytes | None
    """The same path as the disk has it, where it is not the UTF-8 of `path`."""
    folder: str
    name: str
    content: str
    """SHA-256 of the file."""
    size: int
    modified: int
    """Nanoseconds since 1970."""
    format: str
    """Format of the file in lower case, such as jpeg."""
    width: int
    """Pixels after the EXIF rotation."""
    height: int
    taken: datetime.datetime | None = None
    """EXIF date in the camera's own time."""
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None
    captions: Sequence[str] = ()
    """Captions of the sidecar, of XMP or IPTC, or of a source of pairs."""
    category: str | None = None
    split: str | None = None
    text: str = ""
    """Captions, keywords, and the words of name and folder: the column of full-text search."""
    sidecar: str | None = None
    """Size and time of the sidecar, or a hash of the captions: a change of it means new captions."""


def identifier(root: str, path: bytes) -> str:
    """Returns the id of an image: BLAKE2b of 80 bits over its root's name and its path as the disk has it."""
    return hashlib.blake2b(os.fsencode(root) + b"\0" + path, digest_size=10).hexdigest()


def schema(width: int) -> pa.Schema:
    """Returns the schema of a space whose vectors have `width` numbers."""
    known = [pa.field(name, kind, nullable=name != KEY) for name, kind in COLUMNS.items()]
    return pa.schema([*known, pa.field(VECTOR, pa.list_(pa.float32(), width))])


def captions_schema(width: int) -> pa.Schema:
    """Returns the schema of a space's captions: each has the id of its image and a vector of its own."""
    return pa.schema(
        [
            pa.field(KEY, pa.string(), nullable=False),
            pa.field("image", pa.string()),
            pa.field("caption", pa.string()),
            pa.field(VECTOR, pa.list_(pa.float32(), width)),
        ]
    )


def rows(
    records: Sequence[Record], vectors: Floats, width: int, hubness: Floats | None = None, looks: Pixels | None = None
) -> pa.Table:
    """Returns the rows of N images.

    Args:
        records: N records.
        vectors: (N, D) unit vectors.
        width: D of the space.
        hubness: (N,) see `TextBank.hubness`; None leaves the column null.
        looks: (N, 192) see `grouping.looks_of`; None leaves the column null.

    Raises:
        CollectionError: see `require_vectors`.
    """
    require_vectors(vectors, width, [record.path for record in records])
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    names = [field.name for field in fields(Record)]
    columns: dict[str, Any] = {name: [getattr(record, name) for record in records] for name in names}
    columns["captions"] = [list(captions) for captions in columns["captions"]]
    columns["indexed_at"] = [now] * len(records)
    columns["hubness"] = [None] * len(records) if hubness is None else hubness.tolist()
    columns["looks"] = [None] * len(records) if looks is None else looks.tolist()
    arrays = [pa.array(columns[name], kind) for name, kind in COLUMNS.items()]
    return pa.Table.from_arrays([*arrays, vector_array(vectors, width)], schema=schema(width))


def vector_array(vectors: Floats, width: int) -> pa.Array:
    """Returns (N, D) as an Arrow column."""
    flat = np.ascontiguousarray(vectors, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), width)


def require_vectors(vectors: Floats, width: int, names: Sequence[str]) -> None:
    """Raises `CollectionError` unless vectors are (N, `width`) and finite. Lance answers such vectors with an empty list.

    Args:
        vectors: (N, D).
        width: D of the space.
        names: N names for the message.
    """
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise CollectionError(
            f"the vectors have shape {vectors.shape}, and this space has vectors of {width} numbers. "
            "Index the images again with the run of the space: crosscue index FOLDER --run RUN --name NEW"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        raise CollectionError(
            f"{names[bad[0]]}: its vector is not finite ({len(bad)} such). The run's tensors are damaged, or bf16 "
            "overflowed: index with --precision fp32."
        )


def vectors_of(table: pa.Table) -> Floats:
    """Returns the vectors of some rows as (N, D)."""
    return lists_of(table, VECTOR)


def lists_of(table: pa.Table, name: str) -> Any:
    """Returns a column of lists of one length, which every row has, as (N, length)."""
    column = table[name].combine_chunks()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
