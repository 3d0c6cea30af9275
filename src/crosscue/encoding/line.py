"""The line below which an image is no likely result: limits that the right images of validation set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]

KEPT = 0.95
"""Share of the right images of validation that stay above the line."""
BELOW_FLOOR = 0.04
"""Share of them whose cosine may lie below the floor; the z of the line takes the rest of the 5 %."""
FEWEST = 50
"""Fewest right images that set a line."""


@dataclass(frozen=True)
class Line:
    """Limits of a likely result. `z` is a score in spreads above the query's own mean (see `crosscue.search.background`)."""

    z: float = 2.4
    """Least z. The default keeps 95 % of the right images of Flickr8k's validation split with the starter."""
    floor: float = -1.0
    """Least cosine, which depends on the model; -1 where no validation pairs set it."""

    def likely(self, scores: Floats, z: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Returns (N,) True where an image is a likely result: (N,) cosines and (N,) z."""
        return (scores >= self.floor) & (z >= self.z)


def line_of(scores: Floats, z: Floats) -> Line | None:
    """Returns the line that keeps `KEPT` of right images: (Q,) their cosines and (Q,) their z; None for too few.

    The floor leaves `BELOW_FLOOR` of them out. The z is the highest that then keeps `KEPT` of all.
    """
    if len(z) < FEWEST:
        return None
    floor = float(np.quantile(scores, BELOW_FLOOR))
    above = np.sort(z[scores >= floor])
    return Line(float(above[max(len(above) - int(np.ceil(KEPT * len(z))), 0)]), floor)
