"""crosscue adapt: from a few pairs to a run folder."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from crosscue.commands.options import AdaptOptions, BackboneOptions, SourceOptions
from crosscue.commands.parser import chosen, options_parser, taken
from crosscue.data.sources import Reading
from crosscue.errors import DataError


def run(arguments: list[str]) -> int:
    """Adapts and prints the run folder. Returns 130 when interrupted; the run can be resumed."""
    from crosscue.methods.registry import method_class

    config_class = method_class(chosen(arguments, "method", AdaptOptions.method)).config_class
    parser = options_parser(
        "adapt",
        "Adapts a backbone to pairs of images and captions, and writes a run folder.",
        (SourceOptions, None),
        (AdaptOptions, None),
        (BackboneOptions, None),
        (config_class, "options"),
    )
    given = parser.instantiate(parser.parse_args(arguments))
    if not given.data:
        raise DataError("there is no source of pairs. Name a folder or a file: crosscue adapt --data SOURCE")

    from crosscue.api import adapt
    from crosscue.data.sources import read_pairs

    reading = taken(given, Reading)
    pairs = read_pairs(given.data, reading=reading)
    run = adapt(
        pairs,
        options=given.get("options"),
        record={"data": given.data, **plain(asdict(reading))},
        **vars(taken(given, AdaptOptions)),
        **vars(taken(given, BackboneOptions)),
    )
    outcome, folder = run.outcome, run.folder
    assert outcome is not None
    best = f", best validation Rsum {outcome.best_rsum:.2f} at epoch {outcome.best_epoch}" if outcome.best_rsum else ""
    sys.stdout.write(f"{outcome.ended} after {outcome.steps:,} steps and {outcome.seconds:,.0f} s{best}: {folder}\n")
    if outcome.ended == "interrupted":
        sys.stdout.write(f"continue: crosscue adapt --config {folder}/config.yaml --out {folder} --resume\n")
        return 130
    split = [] if "test" in pairs.splits or not pairs.splits else ["--split", pairs.splits[-1]]
    words = ["crosscue", "evaluate", str(folder), "--data", given.data, *flags(reading), *split]
    sys.stdout.write(f"evaluate it: {shlex.join(words)}\n")
    return 0


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
