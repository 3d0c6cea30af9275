"""Recall of an index against the exact answer, on texts and on images, and the cheapest settings that keep it.

Images of the collection alone may not be the queries, because they lie among the vectors of the index and texts do not.
An index can find 98 % of the neighbours of images and 92 % of those of texts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscue.errors import CollectionError
from crosscue.search.connection import answer, asynchronous
from crosscue.search.schema import DISTANCE, VECTOR, vectors_of
from crosscue.search.shipped import shipped_texts
from crosscue.search.spaces import Measured, Space, VectorIndex

if TYPE_CHECKING:
    import pyarrow as pa

    from crosscue.encoding.encoder import Encoder, Floats
    from crosscue.search.collection import Collection

K = 10
QUERIES = 200
"""Texts, and images, that an index is measured with."""
ENOUGH = 0.97
"""Recall@10 on the worse of texts and images that is kept."""
CANDIDATES = (50, 100, 200, 400)
ROUNDING = 1e-5
"""Scores this close to the tenth best count as equal to it."""


@dataclass(frozen=True)
class Trial:
    """One setting and its measurement."""

    index: VectorIndex
    measured: Measured

    @property
    def recall(self) -> float:
        """Recall on the worse of texts and images."""
        return min(self.measured.texts, self.measured.images)

    @property
    def cost(self) -> float:
        """CPU-ms of a query, averaged over texts and images."""
        return (self.measured.texts_cpu_ms + self.measured.images_cpu_ms) / 2


class Bench:
    """The queries of a space and their exact answers."""

    def __init__(self, table: Any, texts: Floats, images: Floats) -> None:
        """Reads all vectors of the table once.

        Args:
            table: the table.
            texts: (Q, D) vectors of texts.
            images: (Q, D) vectors of images.
        """
        self.table, self.queries = table, (texts, images)
        self.tenth = [tenth_best(table, queries) for queries in self.queries]
        self.rows = int(table.count_rows())

    def measure(self, index: VectorIndex) -> Trial:
        """Returns recall and cost of one setting."""
        results = [self._direction(index, *both) for both in zip(self.queries, self.tenth, strict=True)]
        (texts, texts_ms), (images, images_ms) = results
        return Trial(
            index, Measured(round(texts, 4), round(images, 4), round(texts_ms, 2), round(images_ms, 2), self.rows)
        )

    def _direction(self, index: VectorIndex, queries: Floats, tenth: Floats) -> tuple[float, float]:
        found_by(self.table, queries[0], index)  # the first query reads the index from the disk
        started, found = time.process_time(), []
        for query, least in zip(queries, tenth, strict=True):
            cosines = 1 - found_by(self.table, query, index)[DISTANCE].to_numpy()  # (K,)
            found.append((cosines >= least - ROUNDING).sum() / K)
        return float(np.mean(found)), 1000 * (time.process_time() - started) / len(queries)


def found_by(table: Any, query: Floats, index: VectorIndex) -> pa.Table:
    """Returns row id and distance of the K results that the index finds: its candidates, scored with their full vectors."""
    chosen = asynchronous(table).query().nearest_to(query).column(VECTOR).distance_type("dot").nprobes(index.nprobes)
    chosen = chosen.refine_factor(index.refinement(K, K)).limit(K).select([DISTANCE]).with_row_id()
    found: pa.Table = answer(chosen.to_arrow())
    return found


def tenth_best(table: Any, queries: Floats) -> Floats:
    """Returns (Q,) the exact cosine of the K-th best image of each query; all vectors are read, a batch at a time."""
    best = np.full((len(queries), K), -np.inf, np.float32)
    for vectors in vector_batches(table):
        scores = queries @ vectors.T  # (Q, n)
        top = np.partition(scores, -K, axis=1)[:, -K:] if scores.shape[1] > K else scores
        best = np.partition(np.concatenate([best, top], 1), -K, axis=1)[:, -K:]
    return best.min(1)


def vector_batches(table: Any) -> Iterator[Floats]:
    """Yields the vectors of a table, some thousand at a time."""
    import pyarrow as pa

    for batch in table.search().select([VECTOR]).to_batches():
        yield vectors_of(pa.Table.from_batches([batch]))


def query_texts(table: Any) -> list[str]:
    """Returns the texts that an index is measured with: captions of the collection where there are enough, else a list."""
    captioned = table.search().where("array_length(captions) > 0").select(["captions"]).limit(50 * QUERIES).to_arrow()
    captions = [listed[0] for listed in captioned["captions"].to_pylist()]
    if len(captions) >= QUERIES:
        return [captions[index] for index in np.linspace(0, len(captions) - 1, QUERIES).round().astype(int)]
    return shipped_texts()[:QUERIES]


def query_images(table: Any) -> Floats:
    """Returns (Q, D) vectors of images that are spread evenly over the table."""
    count = int(table.count_rows())
    wanted = np.unique(np.linspace(0, count - 1, min(QUERIES, count)).round().astype(int))
    return vectors_of(table.take_offsets(wanted.tolist()).select([VECTOR]).to_arrow())


def bench_of(table: Any, encoder: Encoder) -> Bench:
    """Returns the queries of a space with their exact answers."""
    return Bench(table, encoder.encode_texts(query_texts(table)).vectors, query_images(table))


def settings_of(index: VectorIndex) -> list[VectorIndex]:
    """Returns the settings that are tried, the least work first."""
    probes = sorted({max(index.partitions // part, 1) for part in (16, 8, 4, 2, 1)} | {index.nprobes})
    return [replace(index, nprobes=count, candidates=found) for count in probes for found in CANDIDATES]


def best_of(trials: Sequence[Trial]) -> Trial:
    """Returns the cheapest trial with enough recall; without any, the one with the highest."""
    enough = [trial for trial in trials if trial.recall >= ENOUGH]
    return min(enough, key=lambda trial: trial.cost) if enough else max(trials, key=lambda trial: trial.recall)


def tune(collection: Collection, space: Space, encoder: Encoder) -> tuple[Space, list[Trial]]:
    """Tries settings of a space's index and keeps the best.

    Returns:
        The space and all trials.

    Raises:
        CollectionError: the space has no index, because it is small; its answers are exact.
    """
    if space.index is None:
        raise CollectionError(
            f"{collection.folder}: '{space.name}' has no index to tune. Below 20,000 images every vector is read, which is exact."
        )
    bench = bench_of(collection.table(space.name), encoder)
    trials = [bench.measure(index) for index in settings_of(space.index)]
    best = best_of(trials)
    return collection.keep(space, index=best.index, measured=best.measured), trials


def check(collection: Collection, space: Space, encoder: Encoder) -> Space:
    """Measures the index as it was just built, and tunes it if its recall is too low."""
    assert space.index is not None
    bench = bench_of(collection.table(space.name), encoder)
    first = bench.measure(space.index)
    trials = [first] if first.recall >= ENOUGH else [first, *map(bench.measure, settings_of(space.index))]
    best = best_of(trials)
    return collection.keep(space, index=best.index, measured=best.measured)
