"""Numbers of a paper beside the measured ones, and the check of rows without training that comes first."""

from __future__ import annotations

from collections.abc import Iterable

from crosscue.bench.cells import Cell
from crosscue.bench.grid import Grid
from crosscue.bench.plan import Plan
from crosscue.errors import RunError
from crosscue.evaluation.recall import KS
from crosscue.evaluation.result import ARROWS, DIRECTIONS, Retrieval

PLACES = [(direction, k) for direction in DIRECTIONS for k in KS]


def beside(grid: Grid, backbone: str, domain: str, cells: Iterable[Cell]) -> list[tuple[str, list[str]]]:
    """Returns a line for each label with published numbers: each number measured, and in brackets as published."""
    measured = {cell.row.label: cell for cell in cells}
    lines = []
    for label, values in grid.published_for(backbone).recalls.get(domain, {}).items():
        cell, numbers = measured.get(label), []
        for (direction, k), value in zip(PLACES, values, strict=True):
            own = "" if cell is None else f"{cell.recall(direction, k).mean:.2f} "
            numbers.append(f"{own}({value:.2f})" if value is not None else own.strip())
        lines.append((label, numbers))
    return lines


def first(plans: list[Plan]) -> list[Plan]:
    """Returns the plans in the order of measuring: rows without training that are checked come before all others."""
    return sorted(plans, key=lambda plan: not _checked(plan))  # stable


def require_published(plan: Plan, result: Retrieval) -> None:
    """Compares R@1 of a row without training with the published one.

    Raises:
        RunError: they differ by more than the grid allows, so that trained rows would be compared in another setting.
    """
    if not _checked(plan):
        return
    published = plan.grid.published_for(plan.towers.backbone)
    values = published.recalls[plan.domain.name][plan.row.label]
    for (direction, k), value in zip(PLACES, values, strict=True):
        own = getattr(getattr(result, direction), f"r{k}")
        if k == 1 and value is not None and abs(own - value) > published.within:
            raise RunError(
                f"{plan.row.label} on {plan.domain.name}: R@1 {ARROWS[direction]} is {own:.2f}, and {value:.2f} is published. They "
                f"differ by more than {published.within:g} points, so images, captions or split are others. Mend the source, "
                "or go on without the check: --published []"
            )


def _checked(plan: Plan) -> bool:
    published = plan.grid.published_for(plan.towers.backbone)
    named = plan.row.label in published.recalls.get(plan.domain.name, {})
    plain = not plan.steps and plan.row.inference.normalise == "none"  # a bank of ours differs from a paper's
    return named and plan.domain.name in published.check and plain
