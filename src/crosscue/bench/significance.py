"""Whether a row differs from the best other row on the same queries, and not by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crosscue.bench.cells import Cell
from crosscue.evaluation.intervals import Difference, differences
from crosscue.evaluation.recall import KS
from crosscue.evaluation.result import DIRECTIONS

LEVEL = 0.05
BETTER, EQUAL = "*", "°"
"""BETTER: the best row is better than the best other row. EQUAL: the best row is not better than this one."""


@dataclass(frozen=True)
class Verdict:
    """A row against the best other row."""

    against: str
    """Label of the best other row."""
    difference: Difference
    """The row minus the other, in points."""
    best: bool
    """Whether the row is the best of all."""

    @property
    def mark(self) -> str:
        """What stands beside the number in a table."""
        if self.difference.p >= LEVEL:
            return EQUAL
        return BETTER if self.best else ""


def verdicts(cells: list[Cell]) -> dict[tuple[str, str, int], Verdict]:
    """Compares the rows of one domain and number of shots: (label, direction, k) -> verdict.

    Hits are averaged over a row's seeds, query by query; then pictures are resampled (paired bootstrap). With fewer than two
    rows there is nothing to compare.
    """
    found: dict[tuple[str, str, int], Verdict] = {}
    if len(cells) < 2:
        return found
    for direction in DIRECTIONS:
        asked: list[tuple[str, int, str, bool]] = []  # row, k, the best other row, whether the row is the best of all
        changes = []
        for k in KS:
            means = {cell.row.label: cell.recall(direction, k).mean for cell in cells}
            hits = {cell.row.label: cell.hits(direction, k) for cell in cells}
            best, second, *_ = sorted(means, key=lambda label: -means[label])
            for label in means:
                other = second if label == best else best
                asked.append((label, k, other, means[label] == means[best]))
                changes.append(hits[label] - hits[other])
        tested = differences(np.stack(changes), cells[0].first.clusters(direction))
        for (label, k, other, leads), change in zip(asked, tested, strict=True):
            found[label, direction, k] = Verdict(other, change, leads)
    return found
