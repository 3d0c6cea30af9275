"""Copies among the hits: files of the same content, and images that were re-encoded or scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Floats

COPY = 0.93
"""Least cosine of two copies, of vectors from which the mean of the space is subtracted. No two different images among 4,046 of
Flickr8k reach it; docs/results.md has the measurement. Without centring, the cosines of CLIP's images need another threshold."""


EQUAL = 1 - 1e-5
"""Least cosine of two files of the same content, which share a vector, where there is no mean to subtract."""


def leaders(vectors: Floats, centre: Floats | None) -> list[int]:
    """Returns for each of N hits, best first, the index of the hit that stands for it; its own where it is no copy.

    Args:
        vectors: (N, D) unit vectors of the images.
        centre: (D,) mean of images of the space; None: only equal vectors are copies.
    """
    least = EQUAL if centre is None else COPY
    if centre is not None:
        moved = vectors - centre
        vectors = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
    copies = vectors @ vectors.T >= least  # (N, N)
    leader, free = np.arange(len(vectors)), np.ones(len(vectors), bool)
    for place in range(len(vectors)):
        if free[place]:
            free[place] = False
            mine = free & copies[place]
            leader[mine], free[mine] = place, False
    return [int(one) for one in leader]
