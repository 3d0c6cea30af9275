"""The estimate of `crosscue search`: the encoder opened, a text encoded, and the first search for a random vector."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from crosscue.encoding.query import EmbeddedQuery
from crosscue.memory import available_bytes, resident_bytes
from crosscue.planning.estimate import Estimate, Part, measured
from crosscue.search.candidates import lance

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscue.search.collection import Collection
    from crosscue.search.searching import Searcher


def searching(
    collection: Collection, name: str | None, searcher: Callable[[], Searcher], terms: int, began: float
) -> Estimate:
    """Returns the estimate of a search.

    Args:
        collection: the collection.
        name: the space; None is the last that was added and is whole.
        searcher: opens the search in the space.
        terms: number of terms in the query.
        began: time at which the command began, before the packages of a search were imported.
    """
    space = collection.space(name)
    with lance(collection, space):
        count = int(collection.table(space.name).count_rows())
    free = available_bytes() + resident_bytes()
    opened = searcher()
    opened.encoder.encode_texts(["a red bicycle"])
    opening = time.perf_counter() - began
    text = measured(lambda: opened.encoder.encode_texts(["a blue bicycle"]))
    vector = np.random.default_rng(0).standard_normal(space.identity.width).astype(np.float32)
    start = time.perf_counter()
    if count:
        opened.search_embedded(lambda: EmbeddedQuery(vector / np.linalg.norm(vector), 0))
    index = f"index of {space.index.partitions} partitions" if space.index else "no index: every vector is read"
    parts = [
        Part("packages and the model are loaded, once", opening),
        Part("the query is encoded", terms * text),
        Part(f"{count:,} vectors are searched, the first time", time.perf_counter() - start),
    ]
    return Estimate(f"{space.name}: {count:,} images, {index}", parts, resident_bytes(), free)
