"""The figures of the report, as SVG text."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscue.evaluation.result import Retrieval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crosscue.evaluation.calibration import Calibration

BEFORE, AFTER, INK = "#9aa5b1", "#2563eb", "#52606d"
COLOURS = ("#2563eb", "#d97706", "#0f7b4f", "#b42318", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#525252")
"""Of lines in one figure."""
MOST_CATEGORIES = 40


def curves(history: list[dict[str, Any]]) -> str | None:
    """Draws the training loss and the validation Rsum over steps, and the epoch that was chosen; None without a history."""
    train = [(line["step"], line["loss"]) for line in history if line["kind"] == "train"]
    validated = [line for line in history if line["kind"] == "validation" and "rsum" in line]
    validation = [(line["step"], line["rsum"]) for line in validated]
    if not train:
        return None
    figure, axis = _figure(7, 2.6)
    axis.plot(*zip(*train, strict=True), color=BEFORE, linewidth=1, label="training loss")
    axis.set(xlabel="optimiser step", ylabel="training loss")
    if validation:
        right = axis.twinx()
        right.plot(*zip(*validation, strict=True), color=AFTER, marker="o", markersize=3, label="validation Rsum")
        right.set_ylabel("validation Rsum", color=AFTER)
        _plain(right)
        right.spines["right"].set_visible(True)
        epoch = validated[-1].get("best_epoch")
        for line in [line for line in validated if epoch is not None and line["epoch"] == epoch][:1]:
            axis.axvline(line["step"], color=INK, linestyle=":", linewidth=1, label=f"chosen: epoch {epoch}")
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8, labelcolor=INK)
    return _svg(figure)


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
    figure, axis = _figure(7, 0.8 + 0.24 * len(names))
    rows = range(len(names))
    for row, name in zip(rows, names, strict=True):
        axis.plot(change[name], [row, row], color=BEFORE, linewidth=1, zorder=1)
    axis.scatter([change[name][0] for name in names], rows, color=BEFORE, s=18, label="before", zorder=2)
    axis.scatter([change[name][1] for name in names], rows, color=AFTER, s=18, label="after", zorder=3)
    axis.set_yticks(list(rows), [f"{name} ({int(after.categories[name]['images'])})" for name in names], fontsize=7)
    axis.set(xlabel="R@1 in %, mean of both directions", xlim=(-2, 102), ylim=(-0.8, len(names) - 0.2))
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    return _svg(figure)


@dataclass(frozen=True)
class ShotsLine:
    """One line of a curve over shots, for one direction."""

    label: str
    means: dict[int, float]
    """Number of shots -> R@1 in percent."""
    deviations: dict[int, float] | None
    """Their standard deviations; None for what learns nothing, which becomes a horizontal line."""


def shots_curves(panels: dict[str, list[ShotsLine]]) -> str:
    """Draws R@1 over shots, one panel a direction (DCAR fig. 7)."""
    figure, *axes = _figure(8, 3.2, len(panels))
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        colours = itertools.cycle(COLOURS)
        shots = sorted({count for line in lines for count in line.means})
        for line in lines:
            if line.deviations is None:
                level = next(iter(line.means.values()))
                axis.axhline(level, color=BEFORE, linestyle="--", linewidth=1, label=line.label)
                continue
            measured = sorted(line.means)
            means, bars = [line.means[n] for n in measured], [line.deviations[n] for n in measured]
            colour = next(colours)
            axis.errorbar(measured, means, bars, color=colour, marker="o", markersize=3, capsize=2, label=line.label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(shots, [str(count) for count in shots])
        axis.set(xlabel="training pairs of each category", ylabel="R@1 in %")
        axis.set_title(title, color=INK, fontsize=10)
    axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    return _svg(figure)


def domain_bars(domains: list[str], rows: dict[str, list[float | None]]) -> str:
    """Draws the image-to-text R@1 of every row by domain (DCAR fig. 2); None leaves a gap."""
    figure, axis = _figure(max(6, 1.1 * len(domains)), 3.2)
    width = 0.8 / len(rows)
    for place, ((label, values), colour) in enumerate(zip(rows.items(), itertools.cycle(COLOURS), strict=False)):
        known = [(number, value) for number, value in enumerate(values) if value is not None]
        axis.bar(
            [number + (place - (len(rows) - 1) / 2) * width for number, _ in known],
            [value for _, value in known],
            width,
            color=colour,
            label=label,
        )
    axis.set_xticks(range(len(domains)), domains, rotation=20, ha="right")
    axis.set(ylabel="image to text R@1 in %")
    figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=8, labelcolor=INK)
    return _svg(figure)


def heat_maps(panels: dict[str, list[list[float]]], rows: tuple[str, list[str]], columns: tuple[str, list[str]]) -> str:
    """Draws values over two options, one panel a direction (DCAR fig. 6).

    Args:
        panels: title -> values, one list for each value of the first option.
        rows: name and values of the first option.
        columns: name and values of the second option.
    """
    figure, *axes = _figure(8, 3.4, len(panels))
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        shown = axis.imshow(values, cmap="Blues", aspect="auto")
        middle = (shown.norm.vmin + shown.norm.vmax) / 2
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                axis.text(x, y, f"{value:.1f}", ha="center", color="white" if value > middle else INK, fontsize=8)
        axis.set_yticks(range(len(rows[1])), rows[1])
        axis.set_xticks(range(len(columns[1])), columns[1])
        axis.set(xlabel=columns[0], ylabel=rows[0])
        axis.set_title(title, color=INK, fontsize=10)
    return _svg(figure)


def calibration_curves(found: dict[str, Calibration]) -> str | None:
    """Draws the share of wrong first candidates over a probability of error, by groups of queries; None without any."""
    if not found:
        return None
    figure, axis = _figure(7, 2.6)
    for direction, colour in (("i2t", BEFORE), ("t2i", AFTER)):
        if direction in found:
            bins = found[direction].bins
            certain = "" if found[direction].auroc is None else f", AUROC {found[direction].auroc:.2f}"
            axis.plot(
                [group.uncertainty for group in bins],
                [100 * group.error for group in bins],
                color=colour,
                marker="o",
                markersize=4,
                label=f"{'image to text' if direction == 'i2t' else 'text to image'}{certain}",
            )
    axis.plot([0, 1], [0, 100], color=INK, linestyle=":", linewidth=1)  # calibrated
    axis.set(xlabel="uncertainty of the query", ylabel="first candidate wrong, %", ylim=(-3, 103), xlim=(-0.03, 1.03))
    axis.legend(loc="best", frameon=False, fontsize=8)
    return _svg(figure)


def _mean(values: dict[str, float]) -> float:
    return (values["i2t_r1"] + values["t2i_r1"]) / 2


def _figure(width: float, height: float, panels: int = 1) -> tuple[Any, ...]:
    """Returns a figure and the axes of its panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    for axis in axes:
        _plain(axis)
    return figure, *axes


def _plain(axis: Axes) -> None:
    axis.patch.set_alpha(0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for spine in axis.spines.values():
        spine.set_color(INK)
    axis.tick_params(colors=INK, labelsize=8)
    axis.xaxis.label.set_color(INK)
    axis.yaxis.label.set_color(INK)


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "crosscue", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
