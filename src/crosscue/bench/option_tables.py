"""R@1 over the two options that a row of a grid varies, with a heat map (DCAR, figure 6)."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator

from crosscue.bench.results import Results
from crosscue.bench.table import Line, Number, Table, in_words
from crosscue.evaluation.figures import heat_maps
from crosscue.evaluation.result import ARROWS, DIRECTIONS


def options_tables(results: Results) -> Iterator[Table]:
    """Yields R@1 over the two varied options of a row, mean over the domains (DCAR fig. 6)."""
    for shots in results.grid.shots:
        for row in results.grid.rows:
            if len(row.vary) != 2:
                continue
            (first, rows), (second, columns) = row.vary.items()
            places = dict(zip(itertools.product(range(len(rows)), range(len(columns))), row.expanded(), strict=True))
            cells = {
                place: [results.cell(one.label, domain.name, shots) for domain in results.domains]
                for place, one in places.items()
            }
            if not all(all(found) for found in cells.values()):  # a job failed, or another part of the grid was run
                continue
            panels = {
                ARROWS[direction]: [
                    [
                        statistics.mean(c.recall(direction, 1).mean for c in cells[y, x] if c)
                        for x in range(len(columns))
                    ]
                    for y in range(len(rows))
                ]
                for direction in DIRECTIONS
            }
            axes = (first, [f"{value}" for value in rows]), (second, [f"{value}" for value in columns])
            lines = [
                Line(
                    f"{first}={value}",
                    [Number(" / ".join(f"{p[y][x]:.1f}" for p in panels.values())) for x in range(len(columns))],
                )
                for y, value in enumerate(rows)
            ]
            label = row.label or row.method
            about = "R@1 in percent, image to text / text to image, mean over domains and seeds."
            yield Table(
                f"{label} by {first} and {second}, {in_words(shots)}",
                about,
                [f"{second}={value}" for value in columns],
                lines,
                None,
                heat_maps(panels, *axes),
                f"options-{first}-{second}-{shots}.svg",
            )
