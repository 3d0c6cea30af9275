"""Captions of a space that are nearest to an image or a text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from crosscue.encoding.query import Term, embedded
from crosscue.errors import CollectionError
from crosscue.search.schema import require_vectors

if TYPE_CHECKING:
    from crosscue.search.searching import Searcher


@dataclass(frozen=True)
class CaptionHit:
    """A caption that was found."""

    caption: str
    score: float
    """The cosine with the query."""
    images: list[str]
    """Ids of the images that have this caption."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the hit as JSON."""
        return asdict(self)


def nearest_captions(searcher: Searcher, query: Sequence[Term], k: int) -> list[CaptionHit]:
    """Returns the `k` captions that are nearest to a query, each once, best first.

    Raises:
        CollectionError: the space has no vectors of captions.
    """
    table = searcher.collection.captions_table(searcher.space.name)
    if table is None:
        raise CollectionError(
            f"{searcher.collection.folder}: space '{searcher.space.name}' has no vectors of captions. Make them: "
            f"crosscue index --collection {shlex.quote(str(searcher.collection.folder))} --name {searcher.space.name} --captions"
        )
    vector = embedded(query, searcher.encoder).vector
    require_vectors(vector[None], searcher.space.identity.width, ["the query"])
    nearest = table.search(vector).distance_type("dot").select(["image", "caption", "_distance"])
    found: dict[str, CaptionHit] = {}
    for row in nearest.limit(20 * k).to_list():
        hit = found.setdefault(row["caption"], CaptionHit(row["caption"], round(1 - row["_distance"], 6), []))
        hit.images.append(row["image"])
    return list(found.values())[:k]
