"""All likely images of a query, however many: those above the line, and those whose words contain its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosscue.search.background import SAME, Background
from crosscue.search.candidates import likely_rows
from crosscue.search.request import MOST, Request

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Floats
    from crosscue.search.searching import Searcher


@dataclass(frozen=True)
class LikelyImage:
    """An image above the line."""

    id: str
    path: str
    """Absolute path of the file."""


def likely_images(searcher: Searcher, vector: Floats, words: str, request: Request) -> list[LikelyImage]:
    """Returns at most `MOST` likely images of a query, nearest first, copies included. Every vector is read.

    Args:
        searcher: the space.
        vector: (D,) the query.
        words: the words of the query, if it is of words alone.
        request: the options of which `filter`, `where` and `text` count.

    Raises:
        OptionError: a filter is wrong.
        CollectionError: the table is damaged.
    """
    known, line = searcher.known(), searcher.line
    background = Background.of(vector, known.sample)
    least = -2.0 if background is None else min(max(background.mean + line.z * background.spread, line.floor), SAME)
    searched = words if request.text != "off" and known.words else ""
    rows = likely_rows(searcher.collection, searcher.space, vector, least, searched, request, MOST)
    return [LikelyImage(row["id"], str(searcher.collection.file(row))) for row in rows]
