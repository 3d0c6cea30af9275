"""Captions, categories and splits for indexed images from a source of pairs (`--captions_from`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crosscue.data.pairs import ImageFile
from crosscue.search.reading import Captions

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.search.collection import Collection
    from crosscue.search.scanning import Walk


def captions_from(collection: Collection, walks: Mapping[tuple[str, Path], Walk]) -> dict[str, Captions]:
    """Returns id -> captions of the source that the collection names; nothing where it names none."""
    if collection.captions_from is None:
        return {}
    from crosscue.data.sources import read_pairs

    return captions_by_id(read_pairs(collection.captions_from), walks.values(), collection.roots)


def captions_by_id(pairs: Pairs, walks: Iterable[Walk], roots: Mapping[str, Path]) -> dict[str, Captions]:
    """Returns id -> captions for the files of walks that are images of pairs; files are compared by their real paths."""
    by_path = {
        os.path.realpath(pair.image.path): Captions(pair.captions, pair.category, pair.split)
        for pair in pairs
        if isinstance(pair.image, ImageFile)
    }
    found = {}
    for walk in walks:
        for item in walk.items:
            own = by_path.get(os.path.realpath(roots[item.root] / os.fsdecode(item.raw)))
            if own is not None:
                found[item.id] = own
    return found
