"""Uncertainty of numbers: bootstrap intervals, and a paired test between two runs on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crosscue.errors import CrosscueError

DRAWS = 10_000
LEVEL = 0.95
AT_ONCE = 200_000
"""Numbers drawn at once: they fit in the cache of a core."""
SEEDS = 3
"""Fewest seeds that are resampled too. With fewer, a difference is one of these runs, not of their methods."""


@dataclass(frozen=True)
class Interval:
    """A mean in percent and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """After minus before, in points, with its interval and a two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float
    """Share of resamples on the other side of zero, doubled; never below 1 / draws."""


def interval(hits: np.ndarray, clusters: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Returns the mean of per-query hits and its interval.

    Args:
        hits: (Q,) in [0, 1].
        clusters: (Q,) queries with one number are drawn together: the captions of one image are not independent.
        draws: resamples.
        seed: of the resampling.
    """
    ((means,),) = resampled([([hits], clusters)], draws=draws, seed=seed)
    return interval_of(hits, means)


def difference(
    before: np.ndarray, after: np.ndarray, clusters: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Compares two runs on the same queries by a paired bootstrap.

    Raises:
        CrosscueError: the runs answered different queries.
    """
    if before.shape != after.shape:
        raise CrosscueError(
            f"the two runs answered {len(before)} and {len(after)} queries; a paired test needs the same ones."
        )
    (found,) = differences([(after - before)[None]], clusters, draws=draws, seed=seed)
    return found


def differences(
    changes: Sequence[np.ndarray], clusters: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> list[Difference]:
    """Tests changes of the same queries by one paired bootstrap over images, and over seeds where there are `SEEDS` of them.

    Args:
        changes: (S, Q) each, one row a seed; what is drawn is the same for all of them.
        clusters: (Q,) queries with one number are drawn together.
        draws: resamples.
        seed: of the resampling.
    """
    (drawn,) = resampled([(changes, clusters)], draws=draws, seed=seed)
    return [difference_of([change], [means]) for change, means in zip(changes, drawn, strict=True)]


def resampled(
    kinds: Sequence[tuple[Sequence[np.ndarray], np.ndarray]], *, draws: int = DRAWS, seed: int = 0
) -> list[list[np.ndarray]]:
    """Returns (draws,) resampled means in percent of each of the values, in one pass over the draws.

    The draws depend on the seed and the number of clusters alone, so many numbers together are those of each alone.

    Args:
        kinds: for each kind of queries, values (Q,) or (S, Q), one row a seed, and the clusters (Q,) of its queries. All kinds
            have the same number of clusters, which are drawn together.
        draws: resamples.
        seed: of the resampling.
    """
    rows = [[_rows(value) for value in values] for values, _ in kinds]
    stacked = [(np.concatenate(own), clusters) for own, (_, clusters) in zip(rows, kinds, strict=True)]
    found = []
    for own, means in zip(rows, _cluster_means(stacked, draws, seed), strict=True):
        parts = np.split(100 * means, np.cumsum([len(row) for row in own])[:-1])  # (S, draws) each
        found.append([(part * _shares(len(part), draws, seed)).sum(0) for part in parts])
    return found


def interval_of(hits: np.ndarray, means: np.ndarray) -> Interval:
    """Returns the mean of hits (Q,) with the interval of their (draws,) resampled means."""
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(100 * float(hits.mean()), float(low), float(high))


def difference_of(changes: Sequence[np.ndarray], means: Sequence[np.ndarray]) -> Difference:
    """Returns the test of the sum of the mean changes, such as the change of Rsum, from the resampled means of each."""
    return _tested(100 * sum(float(change.mean()) for change in changes), np.sum(means, axis=0))


def holm(ps: Sequence[float]) -> list[float]:
    """Returns p-values of m tests, corrected so that the chance of any false finding among them is bounded (Holm, 1979).

    The smallest is multiplied by m, the next by m - 1, and so on; none is below a smaller one's, none above 1.
    """
    corrected, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min((len(ps) - place) * ps[index], 1.0))
        corrected[index] = largest
    return corrected


def _tested(mean: float, means: np.ndarray) -> Difference:
    """Returns a difference from its (draws,) resampled means."""
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = min((means <= 0).mean(), (means >= 0).mean())
    return Difference(mean, float(low), float(high), float(max(min(2 * tail, 1.0), 1 / len(means))))


def _rows(value: np.ndarray) -> np.ndarray:
    """(Q,) or (S, Q) -> (S, Q), or the mean (1, Q) of fewer seeds than `SEEDS`."""
    rows = np.atleast_2d(value)
    return rows if len(rows) >= SEEDS else rows.mean(0, keepdims=True)


def _shares(seeds: int, draws: int, seed: int) -> np.ndarray:
    """(S, draws) share of each seed when S seeds are drawn with replacement."""
    if seeds == 1:
        return np.ones((1, draws))
    return np.random.default_rng((seed, seeds)).multinomial(seeds, np.full(seeds, 1 / seeds), draws).T / seeds


def _cluster_means(kinds: Sequence[tuple[np.ndarray, np.ndarray]], draws: int, seed: int) -> list[np.ndarray]:
    """Returns (V, draws) means of the (V, Q) values of each kind when whole clusters are drawn, the same for all values."""
    members = [np.unique(clusters, return_inverse=True)[1] for _, clusters in kinds]
    sizes = [np.bincount(member).astype(np.float64) for member in members]  # (C,) each
    sums = [
        np.stack([np.bincount(member, row) for row in values])  # (V, C)
        for member, (values, _) in zip(members, kinds, strict=True)
    ]
    generator, count = np.random.default_rng(seed), len(sizes[0])
    means = [np.empty((len(values), draws)) for values, _ in kinds]
    step = max(1, AT_ONCE // count)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        for found, own, size in zip(means, sums, sizes, strict=True):
            counts = times @ size
            for row, value in zip(found, own, strict=True):  # one at a time: a number does not depend on the others
                row[start : start + rows] = (times @ value) / counts
    return means
