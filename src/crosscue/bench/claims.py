"""The claims of a grid: the paired difference between two rows on the same queries, hits averaged over the seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from crosscue.bench.cells import Cell
from crosscue.bench.grid import Claim
from crosscue.evaluation.intervals import Difference, difference
from crosscue.evaluation.result import DIRECTIONS


@dataclass(frozen=True)
class Tested:
    """A claim with its differences in R@1."""

    claim: Claim
    differences: dict[str, Difference]
    """Direction -> `row` minus `over`, in points; images are resampled (paired bootstrap)."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        found = {direction: change.to_dict() for direction, change in self.differences.items()}
        return {"claim": self.claim.claim, "row": self.claim.row, "over": self.claim.over, **found}


def tested(claims: Sequence[Claim], cells: Sequence[Cell]) -> Iterator[Tested]:
    """Yields the claims whose two rows are among the cells of one domain and number of shots."""
    rows = {cell.row.label: cell for cell in cells}
    for claim in claims:
        if claim.row in rows and claim.over in rows:
            row, over = rows[claim.row], rows[claim.over]
            yield Tested(
                claim,
                {d: difference(over.hits(d, 1), row.hits(d, 1), row.first.clusters(d)) for d in DIRECTIONS},
            )
