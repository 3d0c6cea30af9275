"""Differences between rows on the same queries: each row against the best other one, and the claims of a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crosscue.bench.cells import Cell
from crosscue.bench.grid import Claim
from crosscue.evaluation.intervals import Difference, difference, differences
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
    """True for the best row of all."""

    @property
    def mark(self) -> str:
        """The sign beside the number in a table."""
        if self.difference.p >= LEVEL:
            return EQUAL
        return BETTER if self.best else ""


def verdicts(cells: list[Cell]) -> dict[tuple[str, str, int], Verdict]:
    """Compares the rows of one domain and number of shots: (label, direction, k) -> verdict.

    Hits are averaged over a row's seeds, query by query; then images are resampled (paired bootstrap). One row alone has
    no verdict.
    """
    found: dict[tuple[str, str, int], Verdict] = {}
    if len(cells) < 2:
        return found
    for direction in DIRECTIONS:
        compared: list[tuple[str, int, str, bool]] = []  # row, k, the best other row, true for the best row of all
        changes = []
        for k in KS:
            means = {cell.row.label: cell.recall(direction, k).mean for cell in cells}
            hits = {cell.row.label: cell.hits(direction, k) for cell in cells}
            best, second, *_ = sorted(means, key=lambda label: -means[label])
            for label in means:
                other = second if label == best else best
                compared.append((label, k, other, means[label] == means[best]))
                changes.append(hits[label] - hits[other])
        tests = differences(np.stack(changes), cells[0].first.clusters(direction))
        for (label, k, other, leads), change in zip(compared, tests, strict=True):
            found[label, direction, k] = Verdict(other, change, leads)
    return found


@dataclass(frozen=True)
class Tested:
    """A claim with its differences in R@1."""

    claim: Claim
    differences: dict[str, Difference]
    """Direction -> `row` minus `over`, in points."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        found = {direction: asdict(change) for direction, change in self.differences.items()}
        return {"claim": self.claim.claim, "row": self.claim.row, "over": self.claim.over, **found}


def tested(claims: Sequence[Claim], cells: Sequence[Cell]) -> Iterator[Tested]:
    """Yields the claims whose two rows are among the cells of one domain and number of shots."""
    rows = {cell.row.label: cell for cell in cells}
    for claim in claims:
        if claim.row in rows and claim.over in rows:
            row, over = rows[claim.row], rows[claim.over]
            changes = {d: difference(over.hits(d, 1), row.hits(d, 1), row.first.clusters(d)) for d in DIRECTIONS}
            yield Tested(claim, changes)
