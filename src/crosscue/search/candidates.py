"""Candidates of a query: the rows of a space that are nearest to its vector, and those that contain its words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscue.errors import OptionError
from crosscue.search.filters import checked_sql, expression_of, parsed
from crosscue.search.fusion import text_query
from crosscue.search.refusals import unreadable
from crosscue.search.schema import COLUMNS, COMPUTED, LOOKS, VECTOR, lists_of, vectors_of

if TYPE_CHECKING:
    import pyarrow as pa

    from crosscue.encoding.encoder import Floats, Pixels
    from crosscue.search.collection import Collection
    from crosscue.search.request import Request
    from crosscue.search.spaces import Space

LIGHT = [*COMPUTED, VECTOR]
"""Columns that the order of hits needs. Each further one would cost a read of all candidates."""
SHOWN = ["id", "root", "path", "raw", "folder", "name", "width", "height", "taken", "captions"]
"""Columns that a hit is made of. Each is a read of its own."""
PLACES = ["id", "root", "path", "raw"]
"""Columns that name an image and its file."""
POOL, DEEP = 200, 1_000
"""Fewest rows that are read for the order of hits: without an index, and corrected for hubness."""


@dataclass(frozen=True)
class Candidates:
    """N rows that may become hits, each once."""

    rows: list[int]
    """Row ids of Lance, which another version of the table may not have; see `rows_of`."""
    hubness: Floats
    """(N,) 0 where the space has none."""
    looks: Pixels
    """(N, 192) see `crosscue.search.grouping`."""
    vectors: Floats
    """(N, D)"""
    by_vector: list[int]
    """Indices of the rows that the vector found, nearest first."""
    by_words: list[int]
    """The same of the words."""


def candidates(
    collection: Collection, space: Space, vector: Floats | None, words: str, request: Request, *, corrects: bool
) -> Candidates:
    """Returns the candidates of a query.

    Args:
        collection: the collection.
        space: the space that is searched.
        vector: (D,) the query; None: words alone.
        words: words that captions or names must contain; empty: the vector alone.
        request: options of the search.
        corrects: True if the order is corrected for hubness, which needs more candidates.

    Raises:
        OptionError: a filter is wrong.
    """
    table = collection.table(space.name)
    index = space.index
    pool = max(DEEP if corrects else 0, index.pool(request.k) if index else max(POOL, 4 * request.k))
    found: list[pa.Table] = []
    if vector is not None:
        nearest = table.search(vector).distance_type("dot")
        nearest = nearest.nprobes(index.nprobes) if index and not request.exact else nearest.bypass_vector_index()
        part = _read(collection, space, nearest, "_distance", request, pool)
        found.append(part.take(np.argsort(-(vectors_of(part) @ vector), kind="stable")))  # an index has them roughly
    if words:
        found.append(
            _read(collection, space, table.search(text_query(words), query_type="fts"), "_score", request, pool)
        )
    places: dict[int, int] = {}
    rankings = [[places.setdefault(one, len(places)) for one in part["_rowid"].to_pylist()] for part in found]
    hubness = np.zeros(len(places), np.float32)
    looks = np.zeros((len(places), LOOKS), np.uint8)
    vectors = np.empty((len(places), space.identity.width), np.float32)
    for part, ranking in zip(found, rankings, strict=True):
        if ranking:
            vectors[ranking] = vectors_of(part)
            hubness[ranking] = np.nan_to_num(part["hubness"].to_numpy())
            looks[ranking] = lists_of(part, "looks")
    return Candidates(
        list(places),
        hubness,
        looks,
        vectors,
        rankings[0] if vector is not None else [],
        rankings[-1] if words else [],
    )


def has_words(collection: Collection, space: Space) -> bool:
    """Returns True if a space has its index of words."""
    with lance(collection, space):
        return any("text" in index.columns for index in collection.table(space.name).list_indices())


def rows_of(collection: Collection, space: Space, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Returns row id -> columns of `SHOWN` of some images; rows that were changed or moved since are missing."""
    wanted = list(rows)
    if not wanted:
        return {}
    with lance(collection, space):
        query = collection.table(space.name).take_row_ids(wanted).select(SHOWN).with_row_id()
        return {row["_rowid"]: row for row in query.to_list()}


def likely_rows(
    collection: Collection, space: Space, vector: Floats, least: float, words: str, request: Request, most: int
) -> list[dict[str, Any]]:
    """Returns at most `most` rows, nearest first: those whose cosine with `vector` (D,) is at least `least`, then those with `words`."""
    table = collection.table(space.name)
    near = table.search(vector).distance_type("dot").bypass_vector_index().distance_range(upper_bound=1 - least)
    found = _read(collection, space, near, "_distance", request, most, PLACES).to_pylist()
    if words:
        named = table.search(text_query(words), query_type="fts")
        found += _read(collection, space, named, "_score", request, most, PLACES).to_pylist()
    return list({row["id"]: row for row in found}.values())[:most]


def _read(
    collection: Collection,
    space: Space,
    query: Any,
    score: str,
    request: Request,
    count: int,
    columns: Iterable[str] = LIGHT,
) -> pa.Table:
    expression = expression_of(parsed(request.filter))
    if expression is not None:
        query = query.where(expression)
    if request.where is not None:
        query = query.where(checked_sql(request.where))
    with lance(collection, space):
        try:
            return query.select([*columns, score]).with_row_id(True).limit(count).to_arrow()
        except (ValueError, RuntimeError) as error:
            if request.where is None or "Invalid input" not in str(error):
                raise
            raise OptionError(
                f"--where {request.where!r} cannot be read as SQL. Columns: {', '.join(name for name in COLUMNS if name not in COMPUTED)}. "
                'Write a condition, such as --where "width > 2000"'
            ) from error


@contextlib.contextmanager
def lance(collection: Collection, space: Space) -> Iterator[None]:
    """Turns errors of LanceDB while a table is read into a `CollectionError`."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise unreadable(collection.folder, collection.store, space.name) from error
