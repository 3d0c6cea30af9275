"""Uncertainty of numbers: bootstrap intervals, and a paired test between two runs on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crosscue.errors import CrosscueError

DRAWS = 10_000
LEVEL = 0.95
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
    (means,) = _means([hits[None]], clusters, draws, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(100 * float(hits.mean()), float(low), float(high))


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
    drawn = zip(changes, _means(changes, clusters, draws, seed), strict=True)
    return [_tested(100 * float(change.mean()), means) for change, means in drawn]


def difference_of_sums(
    parts: Sequence[tuple[Sequence[np.ndarray], np.ndarray]], *, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Tests the sum of the mean changes of several kinds of queries, such as the change of Rsum.

    Args:
        parts: for each kind, changes (Q,) and the clusters (Q,) of its queries. All kinds have the same clusters, which
            are drawn together.
        draws: resamples.
        seed: of the resampling.
    """
    drawn = [_means([change[None] for change in changes], clusters, draws, seed) for changes, clusters in parts]
    total = sum(float(change.mean()) for changes, _ in parts for change in changes)
    return _tested(100 * total, np.sum([means for part in drawn for means in part], axis=0))


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


def _means(values: Sequence[np.ndarray], clusters: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """(S, Q) values each -> (draws,) means in percent when whole clusters are drawn with replacement, and seeds too."""
    rows = [value if len(value) >= SEEDS else value.mean(0, keepdims=True) for value in values]
    means = 100 * _cluster_means(np.concatenate(rows), clusters, draws, seed)  # (sum of S, draws)
    parts = np.split(means, np.cumsum([len(row) for row in rows])[:-1])
    return [(part * _shares(len(part), draws, seed)).sum(0) for part in parts]


def _shares(seeds: int, draws: int, seed: int) -> np.ndarray:
    """(S, draws) share of each seed when S seeds are drawn with replacement."""
    if seeds == 1:
        return np.ones((1, draws))
    return np.random.default_rng((seed, seeds)).multinomial(seeds, np.full(seeds, 1 / seeds), draws).T / seeds


def _cluster_means(values: np.ndarray, clusters: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(V, draws) means of the (V, Q) values when whole clusters are drawn with replacement, the same for every row."""
    _, member = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)  # (C,)
    sums = np.stack([np.bincount(member, row) for row in values])  # (V, C)
    generator, count = np.random.default_rng(seed), len(sizes)
    means = np.empty((len(values), draws))
    step = max(1, 4_000_000 // count)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        means[:, start : start + rows] = (sums @ times.T) / (times @ sizes)
    return means
