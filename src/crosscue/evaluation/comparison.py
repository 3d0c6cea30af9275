"""Before and after on the same queries: differences with intervals, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from crosscue.errors import CrosscueError
from crosscue.evaluation.recall import KS, hits
from crosscue.evaluation.result import DIRECTIONS, Retrieval
from crosscue.intervals import Difference, difference_of, holm, interval_of, resampled

Number = TypeVar("Number")
BETTER, SAME, WORSE = "Better", "Not distinguishable", "Worse"


@dataclass(frozen=True)
class Comparison:
    """Two results on the same pairs."""

    before: Retrieval
    after: Retrieval
    differences: dict[str, dict[str, Difference]]
    """direction -> r1, r5, r10 -> after minus before."""
    total: Difference
    """The change of Rsum, by one paired test over both directions."""

    @property
    def corrected(self) -> dict[str, dict[str, float]]:
        """Direction -> r1, r5, r10 -> the p-value after Holm's correction over the six differences."""
        places = [(direction, key) for direction, by_k in self.differences.items() for key in by_k]
        values = holm([self.differences[direction][key].p for direction, key in places])
        found: dict[str, dict[str, float]] = {direction: {} for direction in self.differences}
        for (direction, key), value in zip(places, values, strict=True):
            found[direction][key] = value
        return found

    @property
    def verdict(self) -> str:
        """`BETTER` or `WORSE` if the 95 % interval of the change of Rsum is without zero, else `SAME`."""
        return BETTER if self.total.low > 0 else WORSE if self.total.high < 0 else SAME

    def to_dict(self) -> dict[str, object]:
        """Returns plain types for JSON."""
        found: dict[str, object] = {
            direction: {
                key: asdict(change) | {"p_holm": self.corrected[direction][key]} for key, change in by_k.items()
            }
            for direction, by_k in self.differences.items()
        }
        return found | {"rsum": asdict(self.total), "verdict": self.verdict}


def compare(before: Retrieval, after: Retrieval) -> Comparison:
    """Pairs two results query by query; all intervals and tests come from one pass over the draws.

    Raises:
        CrosscueError: they were measured on different pairs.
    """
    if before.protocol["data_fingerprint"] != after.protocol["data_fingerprint"]:
        raise CrosscueError(
            f"the two results are of different pairs ({before.protocol['source']} and {after.protocol['source']}, or other "
            "captions). Measure both on the same split."
        )
    kinds, size = [], len(KS)
    for direction in DIRECTIONS:
        old, new = ([hits(one.ranks[direction], k) for k in KS] for one in (before, after))
        kinds.append(([*old, *new, *map(np.subtract, new, old)], after.clusters(direction)))
    means = resampled(kinds)

    def table(first: int, make: Callable[[np.ndarray, np.ndarray], Number]) -> dict[str, dict[str, Number]]:
        return {
            direction: {f"r{k}": make(values[first + i], drawn[first + i]) for i, k in enumerate(KS)}
            for direction, (values, _), drawn in zip(DIRECTIONS, kinds, means, strict=True)
        }

    for result, first in ((before, 0), (after, size)):
        vars(result)["intervals"] = table(first, interval_of)  # the cached property, without a pass of its own
    changes, drawn = ([one for part in parts for one in part[2 * size :]] for parts in ([v for v, _ in kinds], means))
    differences = table(2 * size, lambda change, own: difference_of([change], [own]))
    return Comparison(before, after, differences, difference_of(changes, drawn))
