"""Results as Markdown: an overview where there are several domains, then one table for each domain and number of shots."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from crosscue.bench.cells import Cell
from crosscue.bench.results import Results
from crosscue.evaluation.recall import KS
from crosscue.evaluation.retrieval import DIRECTIONS

MARKS = (
    "Mean ± standard deviation over the seeds, in percent. \\* better than the best other row, ° not told apart from the best "
    "row (from the best other one, where it is the best): paired bootstrap over pictures on hits averaged over the seeds, p < 0.05."
)


def markdown(results: Results, curves: Mapping[str, str]) -> str:
    """Returns the page; `curves` names the picture of the curve over shots of each domain that has one."""
    lines = [f"# {results.grid.title}", "", protocol_line(results), ""]
    if results.failures:
        lines += ["**Not all jobs could be run:**", ""]
        lines += [*(f"- {title}: {reason}" for title, reason in results.failures.items()), ""]
    for domain_name, picture in curves.items():
        lines += [f"![R@1 over shots, {domain_name}]({picture})", ""]
    if len(results.domains) > 1:
        for shots in results.grid.shots:
            lines += [*overview(results, shots), ""]
    for domain, shots, cells in results.tables():
        lines += [f"## {domain.name}, {shots_in_words(shots)}", "", gallery_line(results, domain.name), ""]
        lines += [*table(results, cells), ""]
    return "\n".join([*lines, MARKS, ""])


def protocol_line(results: Results) -> str:
    """Returns what all tables of the page share, in one line."""
    protocol, training = results.protocol, results.protocol["training"]
    checkpoint = (protocol["backbone_checkpoint"] or "none")[:12]
    return (
        f"Protocol: **{protocol['scale']}**; backbone {protocol['backbone']} ({checkpoint}), {protocol['image_size']} px, "
        f"{protocol['precision']}; seeds {', '.join(map(str, protocol['seeds']))}; {training['epochs']} epochs, batch "
        f"{training['batch_size']}, {training['optimizer']}, lr {training['lr']:g}, {training['schedule']} schedule, equal steps "
        f"for all rows; validation: {_validation(protocol['validation'])}; ties: {protocol['ties']}."
    )


def gallery_line(results: Results, domain: str) -> str:
    """Returns what one table was measured on, in one line."""
    gallery = results.galleries()[domain]
    fewest, most = gallery["captions_per_image"]
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return (
        f"Gallery {gallery['gallery']:,} pictures, {gallery['captions']:,} captions ({each} each), data "
        f"`{gallery['data_fingerprint'][:12]}`."
    )


def overview(results: Results, shots: int | str) -> list[str]:
    """Returns R@1 of both directions for every row and domain, and their mean where no domain is missing."""
    names = [domain.name for domain in results.domains]
    lines = [f"R@1, image to text / text to image, {shots_in_words(shots)}:", ""]
    lines += [f"| | {' | '.join(names)} | mean |", f"|---|{'---:|' * (len(names) + 1)}"]
    for row in results.rows:
        cells = [results.cell(row.label, name, shots) for name in names]  # type: ignore[arg-type]
        pairs = [" / ".join(f"{c.recall(d, 1).mean:.1f}" for d in DIRECTIONS) if c else "failed" for c in cells]
        known = [cell for cell in cells if cell is not None]
        mean = (
            " / ".join(f"{statistics.mean(c.recall(d, 1).mean for c in known):.1f}" for d in DIRECTIONS)
            if len(known) == len(names)
            else ""
        )
        lines.append(f"| {row.label} | {' | '.join(pairs)} | {mean} |")
    return lines


def table(results: Results, cells: list[Cell]) -> list[str]:
    """Returns the rows of one domain and number of shots."""
    names = [f"{direction} R@{k}" for direction in DIRECTIONS for k in KS]
    head = ["", *names, "Rsum", "learned", "steps", "training", "memory"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return lines + [f"| {cell.row.label} | {' | '.join(columns(results, cell))} |" for cell in cells]


def columns(results: Results, cell: Cell) -> list[str]:
    """Returns the numbers of one row as text."""
    marks = results.verdicts[cell.domain.name, cell.shots]
    recalls = []
    for direction in DIRECTIONS:
        for k in KS:
            verdict = marks.get((cell.row.label, direction, k))
            recalls.append(f"{cell.recall(direction, k)}{verdict.mark if verdict else ''}")
    memory = f"{cell.memory:,.0f} MB" if cell.memory is not None else ""
    learned = f"{cell.learned:,}" if cell.learned else "0"
    time = f"{cell.seconds:,.0f} s" if cell.steps else ""
    return [*recalls, str(cell.rsum), learned, f"{cell.steps:,}", time, memory]


def shots_in_words(shots: int | str) -> str:
    """Returns 16 shots, or all training pairs."""
    return "all training pairs" if shots == "all" else f"{shots} shot{'s' if shots != 1 else ''}"


def _validation(value: float | bool | None) -> str:
    if value is False:
        return "none (last epoch)"
    return "the source's own split" if value is None or value is True else f"{value:.0%} of the training pairs"
