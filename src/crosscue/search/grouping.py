"""Copies among the hits: files of the same content, and images that were encoded again or scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Pixels

CELLS = 8
"""Rows, and columns, of cells."""
COPY = 12
"""Most levels of 255 by which a cell of two copies differs. docs/results.md has the measurement."""


def looks_of(image: Pillow.Image) -> Pixels:
    """Returns (192,) the mean colours of 8 x 8 cells of an RGB image. Compression and scaling change them by a few levels."""
    return np.asarray(image.resize((CELLS, CELLS), Pillow.Resampling.BOX), np.uint8).reshape(-1)


def leaders(looks: Pixels, most: int | None = None) -> list[int]:
    """Returns for each of N hits, best first, the index of the hit that stands for it; its own where it is no copy.

    `looks` (N, 192) are those of `looks_of`. With `most`, hits after that many leaders are compared with these alone.
    """
    found = 0
    leader, free = np.arange(len(looks)), np.ones(len(looks), bool)
    levels = looks.astype(np.int16)
    for place in range(len(looks)):
        if found == most:
            break
        if free[place]:
            found += 1
            copies = free & (np.abs(levels - levels[place]).max(1) <= COPY)
            leader[copies], free[copies] = place, False
    return [int(one) for one in leader]
