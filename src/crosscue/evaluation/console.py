"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from crosscue.evaluation.comparison import Comparison
from crosscue.evaluation.fold_ranks import Folds
from crosscue.evaluation.recall import KS
from crosscue.evaluation.result import ARROWS, DIRECTIONS, Retrieval
from crosscue.intervals import LEVEL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
WIDEST = 110
"""Columns of the widest table; a file or a pipe, which has no width of its own, gets this many."""


def report_console(out: TextIO) -> Console:
    """Returns a console that writes to `out`: the terminal, or for a file or a pipe one that is wide enough for every table.

    Text is written as it is. Names of people's folders and captions may contain brackets and colons.
    """
    from rich.console import Console

    console = Console(file=out, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDEST)
    return console


def new_table(title: str, heads: Sequence[str], caption: Text | None = None) -> Table:
    """Returns a table without rows; all columns but the first and notes are aligned to the right."""
    from rich.table import Table

    table = Table(title=title, caption=caption)
    for column, head in enumerate(heads):
        table.add_column(head, justify="right" if column and head != "note" else "left")
    return table


def result_table(result: Retrieval) -> Table:
    """Returns one result with its intervals."""
    protocol = result.protocol
    heads = ["direction", *(f"R@{k}" for k in KS), "median rank"]
    table = new_table(f"{protocol['method']} on {protocol['source']}", heads, _caption(result))
    for direction in DIRECTIONS:
        cells = [result.interval(direction, k) for k in KS]
        recall = getattr(result, direction)
        table.add_row(
            ARROWS[direction], *(f"{c.mean:.1f} ({c.low:.1f} to {c.high:.1f})" for c in cells), f"{recall.mdr:g}"
        )
    return table


def comparison_table(comparison: Comparison, title: str) -> Table:
    """Returns before and after with paired differences."""
    from rich.text import Text

    heads = ["direction", "k", "before", "after", "difference", "p"]
    caption = _caption(comparison.after, "; p after Holm's correction over the six differences")
    table = new_table(title, heads, caption)
    for direction in DIRECTIONS:
        for k in KS:
            before, after = comparison.before.interval(direction, k), comparison.after.interval(direction, k)
            change = comparison.differences[direction][f"r{k}"]
            p = comparison.corrected[direction][f"r{k}"]
            colour = "default" if p >= 1 - LEVEL else "green" if change.mean > 0 else "red"
            table.add_row(
                ARROWS[direction] if k == KS[0] else "",
                f"R@{k}",
                f"{before.mean:.1f} ({before.low:.1f} to {before.high:.1f})",
                f"{after.mean:.1f} ({after.low:.1f} to {after.high:.1f})",
                Text(f"{change.mean:+.1f} ({change.low:+.1f} to {change.high:+.1f})", colour),
                f"{p:.4f}",
            )
    return table


def normalised_table(plain: Comparison, normalised: Comparison) -> Table:
    """Returns R@1 and R@10 before and after, plain and normalised by the bank of training queries."""
    from rich.table import Table

    table = Table(title="the same, normalised by a bank of training queries (--normalise bank)")
    for column in ("direction", "k", "before", "before, normalised", "after", "after, normalised"):
        table.add_column(column, justify="left" if column == "direction" else "right")
    for direction in DIRECTIONS:
        for k in (1, 10):
            results = (plain.before, normalised.before, plain.after, normalised.after)
            cells = [f"{getattr(getattr(result, direction), f'r{k}'):.1f}" for result in results]
            table.add_row(ARROWS[direction] if k == 1 else "", f"R@{k}", *cells)
    return table


def folds_table(folds: Sequence[Folds]) -> Table:
    """Returns the mean recall over folds of a gallery: of one result, or before and after."""
    one = folds[-1]
    heads = [
        "direction",
        *(f"R@{k}{when}" for k in KS for when in (("",) if len(folds) == 1 else (", before", ", after"))),
    ]
    table = new_table(f"mean of {one.count} folds of {one.images:,} images", heads)
    for direction in DIRECTIONS:
        cells = [f"{getattr(getattr(part, direction), f'r{k}'):.1f}" for k in KS for part in folds]
        table.add_row(ARROWS[direction], *cells)
    return table


def wordings_table(result: Retrieval, before: Retrieval | None = None) -> Table:
    """Returns text-to-image R@1 by what captions speak of."""
    title = "text to image R@1, by what spaCy finds in the caption (English)"
    return _parts_table(title, "captions", result.wordings, before.wordings if before else None, "captions", "t2i_r1")


def minimal_pairs_table(result: Retrieval, before: Retrieval | None = None) -> Table:
    """Returns how often images preferred their captions to edited ones."""
    title = "preferred to an edited caption, in percent (chance is 50)"
    return _parts_table(
        title, "edit", result.minimal_pairs, before.minimal_pairs if before else None, "pairs", "preferred"
    )


def calibration_table(rows: list[tuple[str, str, str, str]]) -> Table:
    """Returns how well each measure of uncertainty predicts a wrong first candidate; see `calibration_rows`."""
    table = new_table("does it know when it is wrong?", ["direction", "uncertainty", "AUROC", "gap in points"])
    for row in rows:
        table.add_row(*row)
    return table


def _parts_table(
    title: str,
    of: str,
    parts: dict[str, dict[str, float]],
    before: dict[str, dict[str, float]] | None,
    count: str,
    value: str,
) -> Table:
    table = new_table(title, [of, "number", *(["before"] if before else []), "after" if before else "value"])
    for name, part in parts.items():
        cells = [f"{before[name][value]:.1f}"] if before else []
        table.add_row(name, f"{part[count]:,}", *cells, f"{part[value]:.1f}")
    return table


def diagnostics_table(result: Retrieval) -> Table:
    """Returns the controls that were measured with a result."""
    table = new_table("does it look at the image?", ["control", "value", "note"])
    for diagnostic in result.diagnostics:
        table.add_row(diagnostic.name, f"{diagnostic.value:.4g}", diagnostic.note)
    return table


def _caption(result: Retrieval, ending: str = "") -> Text:
    from rich.text import Text

    protocol = result.protocol
    fewest, most = protocol["captions_per_image"]
    per_image = str(fewest) if fewest == most else f"{fewest} to {most}"
    text = (
        f"{protocol['gallery']:,} images, {per_image} caption(s) each; backbone {protocol['backbone']}, "
        f"{protocol['image_size']} px, {protocol['precision']}; ties by expected value; data {protocol['data_fingerprint'][:12]}; "
        f"95 % intervals in brackets{ending}"
    )
    if protocol.get("normalised", "none") != "none":
        text += f"\nscores normalised by a bank of training queries ({protocol['normalised']})"
    if "ceiling" in protocol:
        ceiling = ", ".join(f"{protocol['ceiling'][d]:.1f} {ARROWS[d]}" for d in DIRECTIONS)
        text += (
            f"\n{protocol['re-ranking']}, pre-selected by {protocol['pre-selected_by']}: at most {ceiling} can be found"
        )
    if "enrichment" in protocol:
        text += (
            f"\nENRICHED GALLERY: images carry descriptions by {protocol['described_by']} ({protocol['enrichment']:g} of their weight); "
            "not to be set beside plain results"
        )
    for key in ("left_out", "validated_on", "captions_cut"):
        text += f"\n{protocol[key]}{' and are left out' if key == 'left_out' else ''}" if key in protocol else ""
    stamp = f"\nNOT COMPARABLE: {result.stamp}" if result.stamp else ""
    return Text.assemble(text, (stamp, "bold red"))
