"""The figures of the report, as SVG text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from crosscue.evaluation.retrieval import Retrieval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, AFTER, INK = "#9aa5b1", "#2563eb", "#52606d"
MOST_CATEGORIES = 40


def curves(history: list[dict[str, Any]]) -> str | None:
    """Draws the training loss and the validation Rsum over steps; None without a history."""
    train = [(line["step"], line["loss"]) for line in history if line["kind"] == "train"]
    validation = [(line["step"], line["rsum"]) for line in history if line["kind"] == "validation" and "rsum" in line]
    if not train:
        return None
    figure, (axis,) = blank_figure(7, 2.6)
    axis.plot(*zip(*train, strict=True), color=BEFORE, linewidth=1)
    axis.set(xlabel="optimiser step", ylabel="training loss")
    if validation:
        right = axis.twinx()
        right.plot(*zip(*validation, strict=True), color=AFTER, marker="o", markersize=3)
        right.set_ylabel("validation Rsum", color=AFTER)
        _plain(right)
        right.spines["right"].set_visible(True)
    return as_svg(figure)


def category_bars(before: Retrieval, after: Retrieval) -> str | None:
    """Draws R@1 (mean of both directions) by category, before and after; None with fewer than two categories.

    With many categories the twenty that gained most and the twenty that gained least are shown.
    """
    change = {
        name: (_mean(before.categories[name]), _mean(values))
        for name, values in after.categories.items()
        if name in before.categories
    }
    if len(change) < 2:
        return None
    names = sorted(change, key=lambda name: (change[name][1] - change[name][0], name))
    if len(names) > MOST_CATEGORIES:
        names = names[: MOST_CATEGORIES // 2] + names[-MOST_CATEGORIES // 2 :]
    figure, (axis,) = blank_figure(7, 0.8 + 0.24 * len(names))
    rows = range(len(names))
    for row, name in zip(rows, names, strict=True):
        axis.plot(change[name], [row, row], color=BEFORE, linewidth=1, zorder=1)
    axis.scatter([change[name][0] for name in names], rows, color=BEFORE, s=18, label="before", zorder=2)
    axis.scatter([change[name][1] for name in names], rows, color=AFTER, s=18, label="after", zorder=3)
    axis.set_yticks(list(rows), [f"{name} ({int(after.categories[name]['images'])})" for name in names], fontsize=7)
    axis.set(xlabel="R@1 in %, mean of both directions", xlim=(-2, 102), ylim=(-0.8, len(names) - 0.2))
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    return as_svg(figure)


def _mean(values: dict[str, float]) -> float:
    return (values["i2t_r1"] + values["t2i_r1"]) / 2


def blank_figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Returns a figure in inches, without ground, and the axes of its panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    for axis in axes:
        _plain(axis)
    return figure, axes


def _plain(axis: Axes) -> None:
    axis.patch.set_alpha(0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for spine in axis.spines.values():
        spine.set_color(INK)
    axis.tick_params(colors=INK, labelsize=8)
    axis.xaxis.label.set_color(INK)
    axis.yaxis.label.set_color(INK)
    axis.title.set_color(INK)


def as_svg(figure: Figure) -> str:
    """Returns a figure as SVG; equal figures give equal text."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "crosscue", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
