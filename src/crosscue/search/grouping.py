"""Copies among the hits: files of the same content, and images that were re-encoded or scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.encoding.encoder import Floats

COPY = 0.93
"""Least cosine of two copies, of vectors from which the mean of the space is subtracted. No two different images among 4,046 of
Flickr8k reach it; docs/results.md has the measurement. Without centring, the cosines of CLIP's images need another threshold."""


def leaders(contents: Sequence[str], vectors: Floats, centre: Floats | None) -> list[int]:
    """Returns for each of N hits, best first, the index of the hit that stands for it; its own where it is no copy.

    Args:
        contents: N hashes of the files.
        vectors: (N, D) unit vectors of the images.
        centre: (D,) mean of images of the space; None: only equal files are copies.
    """
    if centre is not None:
        moved = vectors - centre
        vectors = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
    found: list[int] = []
    first: list[int] = []  # hits that stand for themselves
    by_content: dict[str, int] = {}
    for place, content in enumerate(contents):
        leader = by_content.get(content)
        if leader is None and first and centre is not None:
            alike = vectors[first] @ vectors[place]
            nearest = int(alike.argmax())
            leader = first[nearest] if alike[nearest] >= COPY else None
        if leader is None:
            leader = place
            first.append(place)
        by_content.setdefault(content, leader)
        found.append(leader)
    return found
