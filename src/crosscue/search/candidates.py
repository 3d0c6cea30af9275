"""Candidates of a query: the rows of a space that are nearest to its vector, and those that contain its words."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscue.errors import OptionError
from crosscue.search.connection import answer, asynchronous
from crosscue.search.filters import checked_sql, expression_of, parsed
from crosscue.search.fusion import text_query
from crosscue.search.known import Known, Scored, hubness_of, looks_of
from crosscue.search.refusals import unreadable
from crosscue.search.schema import COLUMNS, COMPUTED, DISTANCE, LOOKS, VECTOR, vectors_of

if TYPE_CHECKING:
    import pyarrow as pa

    from crosscue.encoding.encoder import Floats
    from crosscue.search.collection import Collection
    from crosscue.search.request import Request
    from crosscue.search.spaces import Space

SHOWN = ["id", "root", "path", "raw", "width", "height", "taken", "captions", "content"]
"""Columns that a hit is made of. Each is a read of its own."""
PLACES = ["id", "root", "path", "raw"]
"""Columns that name an image and its file."""
ROWS, DEEP = 50, 1_000
"""Fewest rows that are read for the order of hits, and as many where it is corrected for hubness."""
CONDITION = ("Invalid input", "Arrow error")
"""Parts of LanceDB's errors about a condition that cannot be read, and about one that cannot be computed, such as 1 / 0."""


@dataclass(frozen=True)
class Candidates(Scored):
    """N rows that may become hits, each once."""

    by_vector: list[int]
    """Indices of the rows that the vector found, nearest first."""
    by_words: list[int]
    """The same of the words."""


def candidates(
    collection: Collection,
    space: Space,
    known: Known,
    vector: Floats,
    words: str,
    request: Request,
    count: int,
    *,
    corrects: bool,
) -> Candidates:
    """Returns the candidates of a query: at most `count` by its vector, and as many by its words.

    Args:
        collection: the collection.
        space: the space that is searched.
        known: what is known of it.
        vector: (D,) the query. With `request.text` "only" it scores the images that the words found, and finds none.
        words: words that captions or names must contain; empty: the vector alone.
        request: options of the search.
        count: most rows of a ranking; see `rows_needed`.
        corrects: True if the order is corrected for hubness.

    Raises:
        OptionError: a filter is wrong.
    """
    table = asynchronous(collection.table(space.name))
    by_vector, free = request.text != "only", not request.filter and request.where is None
    in_memory = known.resident if by_vector and free else None
    columns = [name for name, used in (("hubness", corrects), ("looks", request.group)) if used]
    queries = []
    if by_vector and in_memory is None:
        queries.append(_chosen(_nearest(table, space, vector, request, count), request, [*columns, DISTANCE], count))
    if words:
        named = table.query().nearest_to_text(text_query(words))
        queries.append(_chosen(named, request, [*columns, VECTOR, "_score"], count))
    found = [_scored(part, vector) for part in _read(collection, space, request, queries)]
    if in_memory is not None:
        found.insert(0, in_memory.nearest(vector, count))
    return _joined(found, by_vector=by_vector, by_words=bool(words))


def rows_needed(request: Request, *, corrects: bool) -> int:
    """Returns how many rows of a ranking a request needs, if few of them are copies."""
    return DEEP if corrects else max(ROWS, 2 * request.k, request.top if request.rerank else 0)


def _scored(part: pa.Table, vector: Floats) -> Scored:
    scores = 1 - part[DISTANCE].to_numpy() if DISTANCE in part.column_names else vectors_of(part) @ vector
    return Scored(part["_rowid"].to_pylist(), scores, hubness_of(part), looks_of(part))


def _joined(found: Sequence[Scored], *, by_vector: bool, by_words: bool) -> Candidates:
    places: dict[int, int] = {}
    rankings = [[places.setdefault(one, len(places)) for one in part.rows] for part in found]
    scores, hubness = np.zeros((2, len(places)), np.float32)
    looks = np.zeros((len(places), LOOKS), np.uint8)
    for part, ranking in zip(found, rankings, strict=True):
        if ranking:
            scores[ranking], hubness[ranking], looks[ranking] = part.scores, part.hubness, part.looks
    return Candidates(
        list(places), scores, hubness, looks, rankings[0] if by_vector else [], rankings[-1] if by_words else []
    )


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
    """Returns at most `most` rows, nearest first: those whose cosine with `vector` (D,) is at least `least`, then those with `words`.

    With `request.text` "only" the words alone find rows.
    """
    table = asynchronous(collection.table(space.name))
    queries = []
    if request.text != "only":
        near = _nearest(table, space, vector, replace(request, exact=True), most).distance_range(upper_bound=1 - least)
        queries.append(_chosen(near, request, [*PLACES, DISTANCE], most))
    if words:
        named = table.query().nearest_to_text(text_query(words))
        queries.append(_chosen(named, request, [*PLACES, "_score"], most))
    found = [row for part in _read(collection, space, request, queries) for row in part.to_pylist()]
    return list({row["id"]: row for row in found}.values())[:most]


def _nearest(table: Any, space: Space, vector: Floats, request: Request, count: int) -> Any:
    """Returns the query for the `count` nearest images; those that an index finds are scored again with their full vectors."""
    nearest = table.query().nearest_to(vector).column(VECTOR).distance_type("dot")
    if space.index is None or request.exact:
        return nearest.bypass_vector_index()
    return nearest.nprobes(space.index.nprobes).refine_factor(space.index.refinement(request.k, count))


def _chosen(query: Any, request: Request, columns: Iterable[str], count: int) -> Any:
    """Returns a query of at most `count` rows that fulfil the conditions of a request."""
    expression = expression_of(parsed(request.filter))
    if expression is not None:
        query = query.where(expression)
    if request.where is not None:
        query = query.where(checked_sql(request.where))
    return query.select(list(columns)).with_row_id().limit(count)


def _read(collection: Collection, space: Space, request: Request, queries: Sequence[Any]) -> list[pa.Table]:
    """Returns the rows of some queries, which run side by side."""

    async def all_rows() -> list[pa.Table]:
        return await asyncio.gather(*(query.to_arrow() for query in queries))

    if not queries:
        return []
    with lance(collection, space):
        try:
            return answer(all_rows())
        except (ValueError, RuntimeError) as error:
            if request.where is None or not any(part in str(error) for part in CONDITION):
                raise
            raise OptionError(
                f"--where {request.where!r} cannot be read or computed as SQL. Columns: {', '.join(name for name in COLUMNS if name not in COMPUTED)}. "
                'Write a condition, such as --where "width > 2000"'
            ) from error


@contextlib.contextmanager
def lance(collection: Collection, space: Space) -> Iterator[None]:
    """Turns errors of LanceDB while a table is read into a `CollectionError`."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise unreadable(collection.folder, collection.store, space.name) from error
