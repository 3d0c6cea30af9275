"""The line below which an image is no good result: a query's own mean and spread over fixed random images.

Cosines of two queries cannot be compared, because a short text scores lower with every image than a long one. So a score is
counted in spreads above the mean that the same query has over random images of the space (z). Beside it stands the
least cosine of right images, because the best of many random images lies far above their mean too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.encoding.encoder import Floats

SIZE = 2_000
"""Images of a background."""
FEWEST = 50
"""Fewest images of which a mean and a spread are taken."""
KEPT = 0.95
"""Share of the right images of validation that stay above the line."""
BELOW_FLOOR = 0.04
"""Share of them whose cosine may lie below the floor; the z of the line takes the rest of the 5 %."""


@dataclass(frozen=True)
class Line:
    """Limits of a likely result."""

    z: float = 2.4
    """Least z. The default keeps 95 % of the right images of Flickr8k's validation split with the starter."""
    floor: float = -1.0
    """Least cosine, which depends on the model; -1 where no validation pairs set it."""

    def likely(self, scores: Floats, z: Floats) -> np.ndarray:
        """Returns (N,) True where an image is a likely result: (N,) cosines and (N,) z."""
        return (scores >= self.floor) & (z >= self.z)


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


def line_of(scores: Floats, z: Floats) -> Line:
    """Returns the line that keeps `KEPT` of right images: (Q,) their cosines and (Q,) their z.

    The floor leaves `BELOW_FLOOR` of them out. The z is the highest that then keeps `KEPT` of all.
    """
    floor = float(np.quantile(scores, BELOW_FLOOR))
    above = np.sort(z[scores >= floor])
    return Line(float(above[max(len(above) - int(np.ceil(KEPT * len(z))), 0)]), floor)


def fixed_sample(ids: Sequence[str], size: int = SIZE) -> list[int]:
    """Returns the positions of at most `size` ids: the smallest, which are random because an id is a hash."""
    return sorted(range(len(ids)), key=ids.__getitem__)[:size]
