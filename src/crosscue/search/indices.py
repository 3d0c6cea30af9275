"""Indices of a space: when they are built, and which.

Vectors get IVF_RQ with the dot product. Texts lie apart from the images of a space, and graphs of images (HNSW) or product
quantisation lose more of their neighbours. Codes have two bits a dimension: with one, four times as many candidates must be
scored again for the same recall. Below 20,000 rows vectors stay in memory (`crosscue.search.known`).
"""

from __future__ import annotations

import math
from typing import Any

from crosscue.search.collection import Collection
from crosscue.search.refusals import refusals
from crosscue.search.schema import VECTOR
from crosscue.search.spaces import Space, VectorIndex
from crosscue.search.writing import Writer

SMALLEST = 20_000
"""Rows from which a space has indices."""
UNINDEXED, UNINDEXED_SHARE = 2_000, 0.02
"""Rows without an index, and their share of all, from which they are added to it: a query reads each of them."""
FRAGMENTS = 8
"""Fragments of a table that are left as they are at the end of a run; joining them rewrites most rows."""
ORDERED = ("id", "taken", "size", "modified", "folder", "width", "height")
LISTED = ("root", "format", "category")
"""Columns with a bitmap; those of `ORDERED` have a B-tree."""
TEXT = "text"


def partitions_of(rows: int) -> int:
    """Returns the power of two nearest to sqrt(rows) / 4: 64 at 100,000 rows, 256 at a million."""
    return 2 ** max(0, round(math.log2(max(math.sqrt(rows) / 4, 1))))


def first_settings(rows: int) -> VectorIndex:
    """Returns the index for a number of rows, with the settings of a query before any measurement."""
    partitions = partitions_of(rows)
    return VectorIndex(partitions, rows, min(64, max(partitions // 2, 1)), candidates=50, bits=2)


def maintain(collection: Collection, space: Space, writer: Writer) -> tuple[Space, bool]:
    """Builds the indices that a space should have, or adds new rows to them.

    Returns:
        The space, and True if the vectors got a new index, so that recall must be measured.
    """
    table = writer.table
    count = int(table.count_rows())
    present = {index.columns[0]: index.name for index in table.list_indices()}
    built = False
    with refusals(writer.place):
        if count and TEXT not in present:
            _index_text(table)
        if count >= SMALLEST:
            for column in (*ORDERED, *LISTED):
                if column not in present:
                    _index_column(table, column)
            if VECTOR not in present or space.index is None or count >= 2 * space.index.rows:
                space, built = _index_vectors(collection, space, table, count), True
        elif space.index is not None:
            space = collection.keep(space, index=None, measured=None)
        if VECTOR in present and count < SMALLEST:
            table.drop_index(present[VECTOR])
        writer.force()
    late = unindexed_rows(table)
    if late >= UNINDEXED or late > UNINDEXED_SHARE * count or writer.fragments > FRAGMENTS:
        writer.tidy()
    return space, built


def unindexed_rows(table: Any) -> int:
    """Returns the number of rows that the oldest index of a table lacks; 0 without any index."""
    stats = [table.index_stats(index.name) for index in table.list_indices()]
    return max((int(found.num_unindexed_rows) for found in stats if found is not None), default=0)


def _index_vectors(collection: Collection, space: Space, table: Any, count: int) -> Space:
    from lancedb.index import IvfRq

    settings = first_settings(count)
    table.create_index(
        VECTOR,
        config=IvfRq(
            distance_type="dot",
            num_partitions=settings.partitions,
            num_bits=settings.bits,
            sample_rate=64,
            max_iterations=10,
        ),
        replace=True,
    )
    return collection.keep(space, index=settings, measured=None)


def _index_text(table: Any) -> None:
    """Builds the full-text index. Positions are left out: with them `optimize` fails."""
    from lancedb.index import FTS

    table.create_index(
        TEXT,
        config=FTS(with_position=False, language="English", stem=True, ascii_folding=True),
        replace=True,
    )


def _index_column(table: Any, column: str) -> None:
    from lancedb.index import Bitmap, BTree

    table.create_index(column, config=Bitmap() if column in LISTED else BTree(), replace=True)
