"""Before and after on the same queries: differences with intervals, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from crosscue.errors import CrosscueError
from crosscue.evaluation.recall import KS, hits
from crosscue.evaluation.result import DIRECTIONS, Retrieval
from crosscue.intervals import Difference, difference, difference_of_sums, holm

BETTER, SAME, WORSE = "Better", "Not distinguishable", "Worse"


@dataclass(frozen=True)
class Comparison:
    """Two results on the same pairs."""

    before: Retrieval
    after: Retrieval
    differences: dict[str, dict[str, Difference]]
    """direction -> r1, r5, r10 -> after minus before."""

    @cached_property
    def total(self) -> Difference:
        """The change of Rsum, by one paired test over both directions."""
        parts = []
        for direction in DIRECTIONS:
            before, after = self.before.ranks[direction], self.after.ranks[direction]
            parts.append(([hits(after, k) - hits(before, k) for k in KS], self.after.clusters(direction)))
        return difference_of_sums(parts)

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
    """Pairs two results query by query.

    Raises:
        CrosscueError: they were measured on different pairs.
    """
    if before.protocol["data_fingerprint"] != after.protocol["data_fingerprint"]:
        raise CrosscueError(
            f"the two results are of different pairs ({before.protocol['source']} and {after.protocol['source']}, or other "
            "captions). Measure both on the same split."
        )
    return Comparison(
        before,
        after,
        {
            direction: {
                f"r{k}": difference(
                    hits(before.ranks[direction], k), hits(after.ranks[direction], k), after.clusters(direction)
                )
                for k in KS
            }
            for direction in DIRECTIONS
        },
    )
