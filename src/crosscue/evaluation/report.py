"""The report: one HTML file that needs nothing else, and the same numbers as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosscue.data.features import FeatureRow
from crosscue.data.images import jpeg_url
from crosscue.data.pairs import Pairs
from crosscue.evaluation.calibration import Calibration, calibration_record, calibration_rows, shown
from crosscue.evaluation.comparison import Comparison, Example, examples
from crosscue.evaluation.figures import calibration_curves, category_bars, curves
from crosscue.evaluation.recall import KS
from crosscue.evaluation.result import ARROWS, DIRECTIONS
from crosscue.evaluation.slices import unread
from crosscue.markdown import markdown_table
from crosscue.storage import write_json, write_text

THUMBNAIL = 128
UNCERTAINTY = ["direction", "uncertainty", "AUROC of a wrong first candidate", "gap in points"]


@dataclass(frozen=True)
class Extras:
    """Parts of a report besides the comparison."""

    title: str = "Retrieval before and after"
    history: Sequence[dict[str, Any]] = ()
    """Lines of metrics.jsonl."""
    calibration: dict[str, dict[str, Calibration]] = field(default_factory=dict)
    """Uncertainty against errors; see `calibration`."""
    attribution: str = ""
    """Owner of the images."""


def write_report(folder: Path, comparison: Comparison, pairs: Pairs, extras: Extras | None = None) -> Path:
    """Writes report.html, report.json and report.md to `folder`; returns the path of the HTML file."""
    extras = extras or Extras()
    write_text(folder / "report.html", html(comparison, pairs, extras))
    content = {
        "before": comparison.before.to_dict(),
        "after": comparison.after.to_dict(),
        "differences": comparison.to_dict(),
        "calibration": calibration_record(extras.calibration),
    }
    write_json(folder / "report.json", content)
    write_text(folder / "report.md", markdown(comparison, extras))
    return folder / "report.html"


def html(comparison: Comparison, pairs: Pairs, extras: Extras) -> str:
    """Returns the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("crosscue.evaluation", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "one": lambda value: f"{value:.1f}",
        "signed": lambda value: f"{value:+.1f}",
        "pvalue": lambda p: f"{p:.4f}" if p > 1e-4 else "≤ 0.0001",
    }
    before, after = comparison.before, comparison.after
    rose, fell = examples(comparison, pairs)
    protocol = {key: value for key, value in after.protocol.items() if key != "comparable"}
    protocol |= {
        f"{key} (before)": value for key, value in before.protocol.items() if protocol.get(key, value) != value
    }
    return environment.get_template("report.html.j2").render(
        title=extras.title,
        headline=headline(comparison),
        comparable=before.comparable and after.comparable,
        rows=_rows(comparison),
        before=before,
        after=after,
        unread=unread(),
        curves=curves(list(extras.history)),
        bars=category_bars(before, after),
        examples=[
            ("Queries that improved most", [_shown(example, pairs) for example in rose]),
            ("Queries that got worse", [_shown(example, pairs) for example in fell]),
        ],
        calibration=calibration_curves({d: shown(found) for d, found in extras.calibration.items()}),
        uncertainties=calibration_rows(extras.calibration),
        diagnostics=_diagnostics(comparison),
        protocol=protocol,
        attribution=extras.attribution,
    )


def headline(comparison: Comparison) -> str:
    """Returns the result in one line."""
    before, after, protocol = comparison.before, comparison.after, comparison.after.protocol
    return (
        f"{protocol['method']} on {protocol['gallery']:,} images and {protocol['captions']:,} captions: R@1 "
        f"{before.i2t.r1:.1f} → {after.i2t.r1:.1f} % image to text, {before.t2i.r1:.1f} → {after.t2i.r1:.1f} % text to image."
    )


def markdown(comparison: Comparison, extras: Extras) -> str:
    """Returns the table and the protocol as Markdown."""
    lines = [f"# {extras.title}", "", headline(comparison), ""]
    if not (comparison.before.comparable and comparison.after.comparable):
        lines += ["**NOT COMPARABLE: this measurement sees the pairing.**", ""]
    rows = [
        [
            row["direction"],
            str(row["k"]),
            f"{row['before'].mean:.1f}",
            f"{row['after'].mean:.1f}",
            f"{row['change'].mean:+.1f} ({row['change'].low:+.1f} to {row['change'].high:+.1f})",
            f"{row['change'].p:.4f}",
        ]
        for row in _rows(comparison)
    ]
    lines.append(markdown_table(["direction", "k", "before", "after", "difference (95 %)", "p"], rows, numbers=False))
    if diagnostics := _diagnostics(comparison):
        lines += ["", markdown_table(["diagnostic", "value", "note"], diagnostics, numbers=False)]
    protocol = [(key.replace("_", " "), str(value)) for key, value in comparison.after.protocol.items()]
    lines += ["", markdown_table(["protocol", ""], protocol, numbers=False)]
    return "\n".join(lines) + "\n"


def _diagnostics(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Returns name, value and note of each control that was measured with the result."""
    return [(one.name, f"{one.value:.4g}", one.note) for one in comparison.after.diagnostics]


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "direction": ARROWS[direction],
            "k": k,
            "before": comparison.before.interval(direction, k),
            "after": comparison.after.interval(direction, k),
            "change": comparison.differences[direction][f"r{k}"],
        }
        for direction in DIRECTIONS
        for k in KS
    ]


def _shown(example: Example, pairs: Pairs) -> dict[str, Any]:
    return {
        "text": pairs.captions[example.caption],
        "rank_before": example.rank_before,
        "rank_after": example.rank_after,
        "before": [_thumbnail(pairs, index, example.image) for index in example.top_before],
        "after": [_thumbnail(pairs, index, example.image) for index in example.top_after],
    }


def _thumbnail(pairs: Pairs, index: int, right: int) -> dict[str, Any]:
    """Returns an image of an example for the page; one that is a row of features has no `data`."""
    image = pairs[index].image
    data = None if isinstance(image, FeatureRow) else jpeg_url(image, THUMBNAIL, quality=80)
    return {"data": data, "right": index == right, "alt": pairs[index].captions[0]}
