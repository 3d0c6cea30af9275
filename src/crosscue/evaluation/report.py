"""The report: one HTML file that needs nothing else, and the same numbers as JSON and Markdown."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.data.pairs import Pairs
from crosscue.evaluation.action_gaps import ActionGap, action_gaps
from crosscue.evaluation.calibration import Calibration, calibration_record, calibration_rows, shown
from crosscue.evaluation.caption_notes import Notes
from crosscue.evaluation.comparison import Comparison
from crosscue.evaluation.example_page import example_parts
from crosscue.evaluation.figures import calibration_curves, category_bars, curves
from crosscue.evaluation.fold_ranks import Folds
from crosscue.evaluation.recall import KS
from crosscue.evaluation.result import ARROWS, DIRECTIONS
from crosscue.evaluation.slices import unread
from crosscue.evaluation.summary import facts, headline, verdict_line
from crosscue.intervals import LEVEL
from crosscue.markdown import markdown_table
from crosscue.storage import atomic_file, write_json, write_text

if TYPE_CHECKING:
    from jinja2 import Template

NOTED = "The darker a word, the larger its weight for the image of the query. In small print: the triplets that are read with a caption."


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
    folds: Sequence[Folds] = ()
    """Recall before and after in equal parts of the gallery."""
    notes: Notes | None = None
    """Notes on captions beside images; see `caption_notes`."""
    run: Mapping[str, str] = field(default_factory=dict)
    """Facts of the run, such as its folder and the number of its training images."""


def write_report(folder: Path, comparison: Comparison, pairs: Pairs, extras: Extras | None = None) -> Path:
    """Writes report.html, report.json and report.md to `folder`; returns the path of the HTML file."""
    extras = extras or Extras()
    write_text(folder / "report.html", html(comparison, pairs, extras))
    content = {
        "facts": facts(comparison, extras.run),
        "before": comparison.before.to_dict(),
        "after": comparison.after.to_dict(),
        "differences": comparison.to_dict(),
        "calibration": calibration_record(extras.calibration),
        "actions": {d: [asdict(gap) for gap in gaps] for d, gaps in _gaps(comparison).items()},
        "folds": [one.to_dict() for one in extras.folds],
    }
    write_json(folder / "report.json", content)
    write_text(folder / "report.md", markdown(comparison, extras))
    return folder / "report.html"


def write_reports(folder: Path, comparison: Comparison, pairs: Pairs, extras: Extras) -> Path:
    """Writes the report to a folder of its evaluation, and as the latest to `folder`; returns the path of the HTML file.

    Evaluations of other pairs or with other options have folders of their own, so none replaces another.
    """
    protocol = comparison.after.protocol
    digest = hashlib.sha256(json.dumps(protocol, sort_keys=True, default=str).encode()).hexdigest()
    name = re.sub(r"[^\w-]+", "-", Path(str(protocol["source"])).name).strip("-")[:40]
    page = write_report(folder / f"{name}-{digest[:8]}", comparison, pairs, extras)
    for written in page.parent.glob("report.*"):
        with atomic_file(folder / written.name) as part:
            shutil.copyfile(written, part)
    return page


def html(comparison: Comparison, pairs: Pairs, extras: Extras) -> str:
    """Returns the page."""
    before, after = comparison.before, comparison.after
    protocol = {key: value for key, value in after.protocol.items() if key != "comparable"}
    protocol |= {
        f"{key} (before)": value for key, value in before.protocol.items() if protocol.get(key, value) != value
    }
    return _template().render(
        title=extras.title,
        verdict=verdict_line(comparison),
        headline=headline(comparison),
        facts=facts(comparison, extras.run),
        stamp=after.stamp or before.stamp,
        rows=_rows(comparison),
        total=comparison.total,
        before=before,
        after=after,
        folds=extras.folds,
        arrows=ARROWS,
        unread=unread(),
        gaps=_gaps(comparison),
        curves=curves(list(extras.history)),
        bars=category_bars(before, after),
        examples=[
            part
            for direction in reversed(DIRECTIONS)
            for part in example_parts(comparison, pairs, direction, extras.notes)
        ],
        calibration=calibration_curves({d: shown(found) for d, found in extras.calibration.items()}),
        uncertainties=calibration_rows(extras.calibration),
        diagnostics=_diagnostics(comparison),
        protocol=protocol,
        attribution=extras.attribution,
        noted=NOTED if extras.notes is not None else "",
    )


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("crosscue.evaluation", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "one": lambda value: f"{value:.1f}",
        "signed": lambda value: f"{value:+.1f}",
        "pvalue": lambda p: f"{p:.4f}" if p > 1e-4 else "≤ 0.0001",
    }
    return environment.get_template("report.html.j2")


def markdown(comparison: Comparison, extras: Extras) -> str:
    """Returns the verdict, the facts, the table and the protocol as Markdown."""
    lines = [f"# {extras.title}", "", f"**{verdict_line(comparison)}**", "", headline(comparison), ""]
    if stamp := comparison.after.stamp or comparison.before.stamp:
        lines += [f"**NOT COMPARABLE: {stamp}.**", ""]
    lines += [*(f"- {name}: {value}" for name, value in facts(comparison, extras.run).items()), ""]
    rows = [
        [
            row["direction"],
            str(row["k"]),
            f"{row['before'].mean:.1f}",
            f"{row['after'].mean:.1f}",
            f"{row['change'].mean:+.1f} ({row['change'].low:+.1f} to {row['change'].high:+.1f})",
            f"{row['p']:.4f}",
        ]
        for row in _rows(comparison)
    ]
    heads = ["direction", "k", "before", "after", "difference (95 %)", "p, corrected"]
    lines.append(markdown_table(heads, rows, numbers=False))
    if diagnostics := _diagnostics(comparison):
        lines += ["", markdown_table(["diagnostic", "value", "note"], diagnostics, numbers=False)]
    protocol = [(key.replace("_", " "), str(value)) for key, value in comparison.after.protocol.items()]
    lines += ["", markdown_table(["protocol", ""], protocol, numbers=False)]
    return "\n".join(lines) + "\n"


def _gaps(comparison: Comparison) -> dict[str, tuple[ActionGap, ActionGap]]:
    """Returns direction -> the actions of wrong first candidates, before and after."""
    before, after = action_gaps(comparison.before), action_gaps(comparison.after)
    none = ActionGap(0, 0)
    return {d: (before.get(d, none), after.get(d, none)) for d in DIRECTIONS if d in before or d in after}


def _diagnostics(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Returns name, value and note of each control that was measured with the result."""
    return [(one.name, f"{one.value:.4g}", one.note) for one in comparison.after.diagnostics]


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns a row for each recall; its `sign` is up or down if the change is shown after Holm's correction."""
    rows = []
    for direction in DIRECTIONS:
        for k in KS:
            change, p = comparison.differences[direction][f"r{k}"], comparison.corrected[direction][f"r{k}"]
            row = {
                "direction": ARROWS[direction],
                "k": k,
                "before": comparison.before.interval(direction, k),
                "after": comparison.after.interval(direction, k),
                "change": change,
                "p": p,
                "sign": "" if p >= 1 - LEVEL else "up" if change.mean > 0 else "down",
            }
            rows.append(row)
    return rows
