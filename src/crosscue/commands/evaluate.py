"""crosscue evaluate RUN_OR_METHOD: recall on held-out pairs, and for a run the comparison with the untouched backbone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.commands.options import BackboneOptions, EvaluateOptions, SourceOptions, put_json, read_source
from crosscue.commands.parser import options_parser, taken
from crosscue.errors import DataError, MethodError, StorageError
from crosscue.retrieval.options import Inference

if TYPE_CHECKING:
    from crosscue.evaluation.fold_ranks import Folds
    from crosscue.evaluation.result import Retrieval


def parsed(arguments: list[str], verb: str = "evaluate") -> Any:
    """Returns the options of an evaluation.

    Raises:
        CrosscueError: an option is wrong, or there is no source of pairs.
    """
    parser = options_parser(
        verb,
        "Evaluates a run folder, or a method without training, on held-out pairs.",
        (SourceOptions, None),
        (EvaluateOptions, None),
        (Inference, None),
        (BackboneOptions, None),
    )
    parser.add_argument("run", help="Run folder, or a method without training such as zero_shot.")
    parser.set_defaults(backbone=None)  # that of the run folder, or `starter` for a method
    given = parser.instantiate(parser.parse_args(arguments))
    if not given.data:
        raise DataError(f"there is no source of pairs. Name a folder or a file: crosscue {verb} RUN --data SOURCE")
    if given.folds is not None and given.folds < 2:
        raise MethodError(f"--folds {given.folds}: give at least 2 folds, such as --folds 5.")
    return given


def run(arguments: list[str]) -> int:
    """Evaluates, prints the table, and for a run folder writes its report."""
    given = parsed(arguments)

    from crosscue.api import as_run, before_and_after
    from crosscue.data.sources import Reading, read_pairs
    from crosscue.data.splits import held_out
    from crosscue.evaluation.calibration import calibration, calibration_record, calibration_rows
    from crosscue.evaluation.caption_notes import caption_notes
    from crosscue.evaluation.console import (
        calibration_table,
        comparison_table,
        diagnostics_table,
        folds_table,
        minimal_pairs_table,
        report_console,
        result_table,
        wordings_table,
    )
    from crosscue.evaluation.report import Extras, write_reports
    from crosscue.evaluation.slices import unread
    from crosscue.evaluation.summary import verdict_line
    from crosscue.training.facts import run_facts
    from crosscue.training.journal import JOURNAL, read_journal

    inference = taken(given, Inference)
    reading = taken(given, Reading)
    source = read_source(given.data, reading)
    pairs = held_out(source, given.split)
    bank = read_pairs(given.bank, reading=reading) if given.bank is not None else None
    measured = as_run(
        given.run, given.backbone, image_size=given.image_size, precision=given.precision, device=given.device
    )
    out = sys.stderr if given.json is True else sys.stdout
    console = report_console(out)
    comparison = None
    if measured.folder is None:
        if given.oracle:
            raise MethodError(f"--oracle needs a run folder, and '{given.run}' is a method. Leave --oracle out.")
        queries = "train" in source.splits and inference.normalise != "none"
        bank = source if bank is None and queries else bank
        before, result = None, measured.evaluate(pairs, inference, bank)
        folds = folded(given.folds, result)
        found = calibration(measured.method, result)
        console.print(result_table(result))
    else:
        comparison = before_and_after(measured, pairs, inference, bank=bank, see_pairing=given.oracle)
        before, result = comparison.before, comparison.after
        pairs = result.pairs or pairs  # without the images that were trained on
        console.print(comparison_table(comparison, f"{result.protocol['method']} on {pairs.source}"))
        console.print(verdict_line(comparison), markup=False, highlight=False)
        folds = folded(given.folds, before, result)
        history = read_journal(measured.folder / JOURNAL)
        found = calibration(measured.method, result, measured.temperatures)
        notes = caption_notes(measured.method, pairs)
        extras = Extras(
            f"{pairs.source}", history, calibration=found, run=run_facts(measured.folder), folds=folds, notes=notes
        )
        if result.diagnostics:
            console.print(diagnostics_table(result))
        try:
            console.print(
                f"report: {write_reports(measured.folder / 'report', comparison, pairs, extras)}", highlight=False
            )
        except StorageError as error:  # the numbers are worth more than their page
            console.print(f"no report: {error}", highlight=False)
    console.print(calibration_table(calibration_rows(found)))
    if folds:
        console.print(folds_table(folds))
    for parts, table in ((result.wordings, wordings_table), (result.minimal_pairs, minimal_pairs_table)):
        if parts:
            console.print(table(result, before))
    if reason := unread():
        out.write(f"recall by wording is left out: {reason}\n")
    content = result.to_dict() | {"calibration": calibration_record(found)}
    if comparison is not None:
        content |= {"before": comparison.before.to_dict(), "differences": comparison.to_dict()}
    put_json(given.json, content | ({"folds": folds[-1].to_dict()} if folds else {}))
    if isinstance(given.json, Path):
        out.write(f"{given.json}\n")
    return 0


def folded(count: int | None, *results: Retrieval) -> list[Folds]:
    """Returns the recall of each result in folds; empty if `--folds` is not given and the gallery is not usually folded."""
    from crosscue.evaluation.folds import fold_recalls, usual_folds

    chosen = [count if count is not None else usual_folds(result) for result in results]
    return [fold_recalls(result, folds) for result, folds in zip(results, chosen, strict=True) if folds and all(chosen)]
