"""Copies among the hits: files of the same content, and images that were re-encoded or scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.encoding.encoder import Floats

COPY = 0.985
"""Least cosine of two copies; docs/results.md has the measurement."""


def leaders(contents: Sequence[str], vectors: Floats) -> list[int]:
    """Returns for each of N hits, best first, the index of the hit that stands for it; its own where it is no copy.

    Args:
        contents: N hashes of the files.
        vectors: (N, D) unit vectors of the images.
    """
    found: list[int] = []
    first: list[int] = []  # hits that stand for themselves
    by_content: dict[str, int] = {}
    for place, content in enumerate(contents):
        leader = by_content.get(content)
        if leader is None and first:
            alike = vectors[first] @ vectors[place]
            nearest = int(alike.argmax())
            leader = first[nearest] if alike[nearest] >= COPY else None
        if leader is None:
            leader = place
            first.append(place)
        by_content.setdefault(content, leader)
        found.append(leader)
    return found
