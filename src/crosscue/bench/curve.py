"""R@1 over shots of one domain (DCAR fig. 7)."""

from __future__ import annotations

from crosscue.bench.results import Results
from crosscue.evaluation.figures import ShotsLine, shots_curves
from crosscue.evaluation.result import ARROWS


def shots_curve(results: Results, domain: str) -> str | None:
    """Draws one domain as SVG; None where fewer than two numbers of shots were measured.

    Points are means over seeds, bars one standard deviation. A row that learns nothing is a horizontal line.
    """
    shots = [count for count in results.grid.shots if count != "all"]
    if len(shots) < 2:
        return None
    panels: dict[str, list[ShotsLine]] = {}
    for direction, title in ARROWS.items():
        lines = panels.setdefault(title, [])
        for row in results.rows:
            cells = {count: cell for count in shots if (cell := results.cell(row.label, domain, count)) is not None}
            if not cells:
                continue
            spreads = {count: cell.recall(direction, 1) for count, cell in cells.items()}
            trains = any(cell.trainings for cell in cells.values())
            deviations = {count: spread.deviation or 0.0 for count, spread in spreads.items()} if trains else None
            lines.append(ShotsLine(row.label, {count: spread.mean for count, spread in spreads.items()}, deviations))
    return shots_curves(panels)
