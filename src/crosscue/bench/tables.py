"""Results as tables: an overview where there are several domains, then one table for each domain and number of shots."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from crosscue.bench.cells import Cell, Spread, recall_spread
from crosscue.bench.grid import Shots
from crosscue.bench.option_tables import options_tables
from crosscue.bench.published import beside
from crosscue.bench.results import Results
from crosscue.bench.significance import Tested, Verdict
from crosscue.bench.table import Line, Number, Table, in_words
from crosscue.evaluation.figures import ShotsLine, domain_bars, shots_curves
from crosscue.evaluation.recall import KS
from crosscue.evaluation.result import ARROWS, DIRECTIONS
from crosscue.intervals import SEEDS

MARKS = (
    "R@k in percent: mean ± standard deviation over the seeds. * better than every other row; ° not told apart from the best "
    "row (beside the best row itself: from the second). Rows marked with neither are worse than the best one. Paired bootstrap "
    f"over images, and over seeds where two rows share {SEEDS}; with fewer, a mark compares these runs, not their methods. "
    "p < 0.05 after Holm's correction over the rows of a column."
)
RECALLS = [f"{direction} R@{k}" for direction in DIRECTIONS for k in KS]
COSTS = ["learned", "steps", "training", "memory"]


def tables(results: Results) -> Iterator[Table]:
    """Yields all tables of a page."""
    if len(results.domains) > 1:
        for shots in results.grid.shots:
            yield overview(results, shots)
    yield from options_tables(results)
    drawn = set[str]()
    for domain, shots, cells in results.tables():
        curve = shots_curve(results, domain.name) if domain.name not in drawn else None
        drawn.add(domain.name)
        marks = results.verdicts[domain.name, shots]
        lines = [Line(cell.row.label, [*recalls(cell, marks), *costs(cell)], chosen(cell)) for cell in cells]
        title = f"{domain.name}, {in_words(shots)}"
        yield Table(
            title,
            gallery(results, domain.name),
            [*RECALLS, "Rsum", *COSTS],
            lines,
            domain.name,
            curve,
            f"shots-{domain.name}.svg",
        )
    for domain, shots, cells in results.tables():
        where = f"{domain.name}, {in_words(shots)}"
        yield from (
            table
            for table in (
                published_table(results, where, domain.name, cells),
                normalised_table(where, cells),
                claims_table(where, results.claims[domain.name, shots]),
                evaluations_table(where, cells),
                minimal_pairs_table(where, cells),
            )
            if table.lines
        )


def shots_curve(results: Results, domain: str) -> str | None:
    """Draws one domain as SVG; None where fewer than two numbers of shots were measured.

    Points are means over seeds, bars one standard deviation. A row without training is a horizontal line.
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


def overview(results: Results, shots: Shots) -> Table:
    """Returns R@1 of both directions for every row and domain, and their mean where no domain is missing."""
    names = [domain.name for domain in results.domains]
    lines, bars = [], {}
    for row in results.rows:
        cells = [results.cell(row.label, name, shots) for name in names]
        bars[row.label] = [None if cell is None else cell.recall("i2t", 1).mean for cell in cells]
        measured = [cell for cell in cells if cell is not None]
        numbers = [Number(_both([cell]) if cell else "failed") for cell in cells]
        lines.append(Line(row.label, [*numbers, Number(_both(measured) if len(measured) == len(names) else "")]))
    about = "R@1 in percent, image to text / text to image, mean over the seeds."
    chart = domain_bars(names, bars)
    return Table(f"All domains, {in_words(shots)}", about, [*names, "mean"], lines, None, chart, f"domains-{shots}.svg")


def recalls(cell: Cell, marks: dict[tuple[str, str, int], Verdict]) -> list[Number]:
    """Returns the recalls of a row with their marks, and Rsum."""
    numbers = []
    for direction in DIRECTIONS:
        for k in KS:
            verdict, text = marks.get((cell.row.label, direction, k)), str(cell.recall(direction, k))
            if verdict is None:
                numbers.append(Number(text))
                continue
            change = verdict.difference
            note = f"{change.mean:+.1f} to {verdict.against}, p {verdict.p:.4f}"
            numbers.append(Number(text + verdict.mark, verdict.best, note))
    return [*numbers, Number(str(cell.rsum))]


def published_table(results: Results, where: str, domain: str, cells: list[Cell]) -> Table:
    """Returns the recalls of the paper beside the measured ones."""
    about = "R@k in percent: measured, and in brackets the published number. A line with brackets alone was not measured here."
    found = beside(results.grid, results.towers.backbone, domain, cells)
    lines = [Line(label, [Number(text) for text in numbers]) for label, numbers in found]
    return Table(f"Published, {where}", about, RECALLS, lines)


def normalised_table(where: str, cells: list[Cell]) -> Table:
    """Returns R@1 and Rsum of every row, plain beside normalised by a bank of training queries."""
    about = "Plain, and normalised by a bank of at most 500 training images and captions (--normalise bank). R@1 in percent."
    lines = []
    for cell in cells:
        if cell.normalised:
            pairs = [(cell.recall(d, 1), recall_spread(cell.normalised.values(), d, 1)) for d in DIRECTIONS]
            pairs.append((cell.rsum, Spread.of([result.rsum for result in cell.normalised.values()])))
            lines.append(Line(cell.row.label, [Number(str(spread)) for pair in pairs for spread in pair]))
    heads = [head for name in ("i2t R@1", "t2i R@1", "Rsum") for head in (name, f"{name}, normalised")]
    return Table(f"Normalised, {where}", about, heads, lines)


def claims_table(where: str, claims: list[Tested]) -> Table:
    """Returns the differences in R@1 that the claims of a grid are about."""
    about = (
        "R@1 in points: difference, paired 95 % bootstrap interval over images and seeds, and p after Holm's correction over the "
        f"claims. With fewer than {SEEDS} seeds, images alone are resampled, and the claim is about these runs, not their methods."
    )
    lines = [
        Line(
            one.claim.claim,
            [
                Number(f"{d.mean:+.1f} ({d.low:+.1f} to {d.high:+.1f}), p {one.p[name]:.4f}")
                for name, d in one.differences.items()
            ],
            "" if one.seeds >= SEEDS else "these runs",
        )
        for one in claims
    ]
    return Table(f"Claims, {where}", about, list(DIRECTIONS), lines)


def evaluations_table(where: str, cells: list[Cell]) -> Table:
    """Returns the recalls of runs that were evaluated again."""
    about = "Kept runs evaluated again. R@k in percent: mean ± standard deviation over the seeds."
    lines = []
    for cell in cells:
        for label, found in cell.evaluations.items():
            results = list(found.values())
            if results[0].minimal_pairs:
                continue
            spreads = [recall_spread(results, direction, k) for direction in DIRECTIONS for k in KS]
            spreads.append(Spread.of([one.rsum for one in results]))
            stamp = "" if results[0].comparable else "NOT COMPARABLE"
            lines.append(Line(label, [Number(str(spread)) for spread in spreads], stamp))
    return Table(f"Evaluated again, {where}", about, [*RECALLS, "Rsum"], lines)


def minimal_pairs_table(where: str, cells: list[Cell]) -> Table:
    """Returns the share of contests in which an image prefers its caption to an edited one, by kind of edit."""
    found = {
        label: [result.minimal_pairs for result in results.values()]
        for cell in cells
        for label, results in cell.evaluations.items()
        if all(result.minimal_pairs for result in results.values())
    }
    kinds = sorted({kind for seeds in found.values() for one in seeds for kind in one})
    lines = [
        Line(
            label,
            [
                Number(str(Spread.of([one[kind]["preferred"] for one in seeds])) if kind in seeds[0] else "")
                for kind in kinds
            ],
        )
        for label, seeds in found.items()
    ]
    about = "Own caption preferred to an edited one, in percent of the contests."
    sizes = {kind: one[kind]["pairs"] for seeds in found.values() for one in seeds for kind in one}
    heads = [f"{kind.replace('_', ' ')} ({sizes[kind]:,})" for kind in kinds]
    return Table(f"Minimal pairs, {where}", about, heads, lines)


def costs(cell: Cell) -> list[Number]:
    """Returns learned parameters, optimiser steps, time and memory of a row."""
    time = f"{cell.seconds:,.0f} s" if cell.steps else ""
    memory = f"{cell.memory:,.0f} MB" if cell.memory is not None else ""
    return [Number(text) for text in (f"{cell.learned:,}", f"{cell.steps:,}", time, memory)]


def chosen(cell: Cell) -> str:
    """Returns the settings that validation chose for a row; empty without candidates."""
    if cell.choice is None:
        return ""
    values = cell.choice.candidate.training | cell.choice.candidate.options
    return ", ".join(f"{name} {value}" for name, value in values.items())


def protocol(results: Results) -> str:
    """Returns the protocol of all tables of a page, in one line."""
    shared, training = results.protocol, results.protocol["training"]
    checkpoint = (shared["backbone_checkpoint"] or "none")[:12]
    rates = "chosen on validation" if results.grid.candidates else f"{results.grid.training.lr:g}"
    return (
        f"Protocol: {shared['scale']}; backbone {shared['backbone']} ({checkpoint}), {shared['image_size']} px, "
        f"{shared['precision']}; seeds {', '.join(map(str, shared['seeds']))}; {training['epochs']} epochs, batch "
        f"{training['batch_size']}, {training['optimizer']}, lr {rates}, {training['schedule']} schedule, equal steps "
        f"for all rows; validation: {_validation(shared['validation'])}; ties: {shared['ties']}."
    )


def gallery(results: Results, domain: str) -> str:
    """Returns the gallery of one table, in one line."""
    found = results.galleries()[domain]
    features, number = found.get("image_features"), found.get("left_out", 0)
    left_out = f" Left out: {number:,} test images that are in another split too." if number else ""
    fewest, most = found["captions_per_image"]
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return (
        f"Gallery {found['gallery']:,} images, {found['captions']:,} captions ({each} each), data "
        f"{found['data_fingerprint'][:12]}." + (f" Image features: {features}." if features else "") + left_out
    )


def _both(cells: list[Cell]) -> str:
    return " / ".join(f"{statistics.mean(cell.recall(d, 1).mean for cell in cells):.1f}" for d in DIRECTIONS)


def _validation(value: float | bool | None) -> str:
    if value is False:
        return "none (last epoch)"
    return "the source's own split" if value is None or value is True else f"{value:.0%} of the training pairs"
