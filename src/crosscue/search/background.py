"""A query's own mean and spread over fixed random images of a space.

Cosines of two queries cannot be compared, because a short text scores lower with every image than a long one. So a score is
counted in spreads above the mean of the same query (z), and `crosscue.encoding.line` has the least z of a likely result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscue.search.schema import vectors_of

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Floats

SIZE = 2_000
"""Images of a background."""
FEWEST = 50
"""Fewest images of which a mean and a spread are taken."""


@dataclass(frozen=True)
class Background:
    """Mean and spread of the cosines of one query with random images."""

    mean: float
    spread: float

    @classmethod
    def of(cls, query: Floats, images: Floats) -> Background | None:
        """Returns the background of a query (D,) over images (N, D); None if they are fewer than `FEWEST`, or all alike."""
        if len(images) < FEWEST:
            return None
        scores = images @ query
        spread = float(scores.std())
        return cls(float(scores.mean()), spread) if spread > 1e-6 else None

    def z(self, scores: Floats) -> Floats:
        """Returns (N,) cosines as numbers of spreads above the mean."""
        return (scores - self.mean) / self.spread


SAME = 0.985
"""Cosine from which an image is the image of the query."""
IDS = 16**20
"""Number of ids: 20 hexadecimal digits of a hash."""


def fixed_sample(table: Any, size: int = SIZE) -> Floats:
    """Returns (n, D) the vectors of at most `size` images of a space: those with the smallest ids, which are random hashes.

    The sample hardly changes when images come or go, so a query keeps its background.
    """
    from lancedb.expr import col, lit

    count = int(table.count_rows())
    query = table.search()
    if count > size:
        share = (size + 5 * size**0.5) / count  # some more, so that hardly ever fewer than `size` are below
        query = query.where(col("id") < lit(f"{int(share * IDS):020x}")) if share < 1 else query
    found = query.select(["id", "vector"]).limit(count).to_arrow()
    return vectors_of(found.sort_by("id").slice(0, size))
