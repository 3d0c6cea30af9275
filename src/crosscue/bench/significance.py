"""Differences between rows on the same queries: each row against the best other one, and the claims of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crosscue.bench.cells import Cell
from crosscue.bench.grid import Claim
from crosscue.evaluation.recall import KS
from crosscue.evaluation.result import DIRECTIONS
from crosscue.intervals import Difference, differences, holm

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
    p: float
    """The p-value of the difference after Holm's correction over the rows of the table."""

    @property
    def mark(self) -> str:
        """The sign beside the number in a table."""
        if self.p >= LEVEL:
            return EQUAL
        return BETTER if self.best else ""


def verdicts(cells: list[Cell]) -> dict[tuple[str, str, int], Verdict]:
    """Compares the rows of one domain and number of shots: (label, direction, k) -> verdict.

    Images are resampled (paired bootstrap), and seeds too where there are `SEEDS` of them. The p-values of a column are
    corrected together: one test for each row but the best, whose own is that of the second. One row alone has no verdict.
    """
    found: dict[tuple[str, str, int], Verdict] = {}
    if len(cells) < 2:
        return found
    rows = {cell.row.label: cell for cell in cells}
    for direction in DIRECTIONS:
        orders = {k: sorted(rows, key=lambda label: -rows[label].recall(direction, k).mean) for k in KS}
        compared = [(label, k, orders[k][label == orders[k][0]]) for k in KS for label in rows]  # row, k, best other
        changes = [rows[label].minus(rows[other], direction, k) for label, k, other in compared]
        tests = differences(changes, cells[0].first.clusters(direction))
        by_row = {(label, k): test for (label, k, _), test in zip(compared, tests, strict=True)}
        for k, (best, second, *others) in orders.items():
            behind = [second, *others]
            corrected = dict(zip(behind, holm([by_row[label, k].p for label in behind]), strict=True))
            highest = rows[best].recall(direction, k).mean
            for label in rows:
                leads = rows[label].recall(direction, k).mean == highest
                other = second if label == best else best
                p = corrected[second if label == best else label]
                found[label, direction, k] = Verdict(other, by_row[label, k], leads, p)
    return found


@dataclass(frozen=True)
class Tested:
    """A claim with its differences in R@1."""

    claim: Claim
    differences: dict[str, Difference]
    """Direction -> `row` minus `over`, in points."""
    p: dict[str, float]
    """Direction -> p-value after Holm's correction over the claims of the table."""
    seeds: int
    """Seeds that were compared, each with the same one of the other row; below `SEEDS` the claim is about runs."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        found = {direction: asdict(change) for direction, change in self.differences.items()}
        named = {"claim": self.claim.claim, "row": self.claim.row, "over": self.claim.over, "seeds": self.seeds}
        return named | found | {"holm": self.p}


def tested(claims: Sequence[Claim], cells: Sequence[Cell]) -> list[Tested]:
    """Returns the claims whose two rows are among the cells of one domain and number of shots."""
    rows = {cell.row.label: cell for cell in cells}
    claims = [claim for claim in claims if claim.row in rows and claim.over in rows]
    if not claims:
        return []
    found: dict[str, list[Difference]] = {}
    changes: list[np.ndarray] = []
    for direction in DIRECTIONS:
        changes = [rows[claim.row].minus(rows[claim.over], direction, 1) for claim in claims]
        found[direction] = differences(changes, cells[0].first.clusters(direction))
    corrected = {direction: holm([one.p for one in tests]) for direction, tests in found.items()}
    return [
        Tested(
            claim,
            {direction: tests[place] for direction, tests in found.items()},
            {direction: ps[place] for direction, ps in corrected.items()},
            len(changes[place]),
        )
        for place, claim in enumerate(claims)
    ]
