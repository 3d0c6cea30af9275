"""R@1 over shots, one panel a direction and one line a row (DCAR fig. 7)."""

from __future__ import annotations

from crosscue.bench.results import Results
from crosscue.evaluation.figures import INK, as_svg, blank_figure
from crosscue.evaluation.report import ARROWS

COLOURS = ("#2563eb", "#d97706", "#0f7b4f", "#b42318", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#525252")
UNTRAINED = "#9aa5b1"


def shots_curve(results: Results, domain: str) -> str | None:
    """Draws one domain as SVG; None where fewer than two numbers of shots were measured.

    Points are means over seeds, bars one standard deviation. A row that learns nothing is a horizontal line.
    """
    shots = sorted(count for count in results.grid.shots if count != "all")
    if len(shots) < 2:
        return None
    figure, axes = blank_figure(8, 3.2, panels=2)
    colours = iter(COLOURS * (1 + len(results.rows) // len(COLOURS)))
    for row in results.rows:
        cells = {n: cell for n in shots if (cell := results.cell(row.label, domain, n)) is not None}
        if not cells:
            continue
        trains = any(cell.steps for cell in cells.values())
        colour = next(colours) if trains else UNTRAINED
        for axis, direction in zip(axes, ARROWS, strict=True):
            points = {n: cell.recall(direction, 1) for n, cell in cells.items()}
            if trains:
                bars = [spread.deviation or 0.0 for spread in points.values()]
                means = [spread.mean for spread in points.values()]
                axis.errorbar(
                    list(points), means, bars, color=colour, marker="o", markersize=3, capsize=2, label=row.label
                )
            else:
                axis.axhline(
                    next(iter(points.values())).mean, color=colour, linestyle="--", linewidth=1, label=row.label
                )
    for axis, name in zip(axes, ARROWS.values(), strict=True):
        axis.set_xscale("log", base=2)
        axis.set_xticks(shots, [str(count) for count in shots])
        axis.set(title=name, xlabel="training pairs of each category", ylabel="R@1 in %")
    axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    return as_svg(figure)
