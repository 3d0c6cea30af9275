"""crosscue adapt: from a few pairs to a run folder."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from crosscue.commands.options import AdaptOptions, BackboneOptions, SourceOptions
from crosscue.commands.parser import chosen, named, options_parser, taken
from crosscue.data.sources import Reading
from crosscue.errors import DataError


def run(arguments: list[str]) -> int:
    """Adapts and prints the run folder. Returns 130 when interrupted; the run can be resumed."""
    from crosscue.methods.registry import method_class
    from crosscue.selection.defaults import AUTO, FREE, named_method

    single = set(named(arguments, "training", "options")) - {f"training.{name}" for name in FREE}
    searched = bool(chosen(arguments, "budget", "")) or not single
    method = named_method(chosen(arguments, "method", "") or None, searched=searched)
    own = [] if method == AUTO else [(method_class(method).config_class, "options")]
    parser = options_parser(
        "adapt",
        "Adapts a backbone to pairs of images and captions, and writes a run folder.",
        (SourceOptions, None),
        (AdaptOptions, None),
        (BackboneOptions, None),
        *own,
    )
    parser.set_defaults(method=method)
    given = parser.instantiate(parser.parse_args(arguments))
    if not given.data:
        raise DataError("there is no source of pairs. Name a folder or a file: crosscue adapt --data SOURCE")

    from crosscue.api import adapt
    from crosscue.data.sources import read_pairs

    reading = taken(given, Reading)
    pairs = read_pairs(given.data, reading=reading)
    wanted = vars(taken(given, AdaptOptions))
    wanted["method"] = method
    by = wanted.pop("chosen_by")
    run = adapt(
        pairs,
        options=given.get("options"),
        record={"data": given.data, **plain(asdict(reading)), **({"chosen_by": by} if by else {})},
        **wanted,
        **vars(taken(given, BackboneOptions)),
    )
    outcome, folder = run.outcome, run.folder
    assert outcome is not None
    assert folder is not None
    if outcome.ended == "interrupted":
        home = folder / "selection" if method == AUTO else folder
        sys.stdout.write(f"interrupted after {outcome.steps:,} steps and {outcome.seconds:,.0f} s: {folder}\n")
        sys.stdout.write(f"continue: crosscue adapt --config {home}/config.yaml --out {folder} --resume\n")
        return 130
    if method == AUTO:
        sys.stdout.write(search_report(folder))
    else:
        rsum, epoch = outcome.best_rsum, outcome.best_epoch
        best = f", best validation Rsum {rsum:.2f} at epoch {epoch}" if rsum else ""
        sys.stdout.write(
            f"{outcome.ended} after {outcome.steps:,} steps and {outcome.seconds:,.0f} s{best}: {folder}\n"
        )
    split = [] if "test" in pairs.splits or not pairs.splits else ["--split", pairs.splits[-1]]
    words = ["crosscue", "evaluate", str(folder), "--data", given.data, *flags(reading), *split]
    sys.stdout.write(f"evaluate it: {shlex.join(words)}\n")
    return 0


def search_report(folder: Path) -> str:
    """Returns the table and the choice of a search."""
    from crosscue.selection.verdict import FILE, table
    from crosscue.storage import read_json

    record = read_json(folder / FILE)
    return f"{table(record)}\n\n{record['conclusion']}\n{record['seconds']:,.0f} s of {record['budget']}: {folder}\n"


def flags(options: Reading) -> list[str]:
    """Returns the flags of the options that differ from their defaults."""
    return [
        f"--{entry.name}={getattr(options, entry.name)}"
        for entry in fields(options)
        if getattr(options, entry.name) != entry.default
    ]


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values in types that YAML has."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
