"""A query's own mean and spread over fixed random images of a space.

Cosines of two queries cannot be compared, because a short text scores lower with every image than a long one. So a score is
counted in spreads above the mean of the same query (z), and `crosscue.encoding.line` has the least z of a likely result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def fixed_sample(ids: Sequence[str], size: int = SIZE) -> list[int]:
    """Returns the positions of at most `size` ids: the smallest, which are random because an id is a hash."""
    return sorted(range(len(ids)), key=ids.__getitem__)[:size]
