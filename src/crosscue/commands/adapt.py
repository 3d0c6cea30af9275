"""crosscue adapt: from a few pairs to a run folder."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crosscue.commands.options import AdaptOptions, BackboneOptions, SourceOptions
from crosscue.commands.parser import chosen, options_parser
from crosscue.errors import DataError


def run(arguments: list[str]) -> int:
    """Adapts, prints where the run is; 130 when interrupted (the run can be resumed)."""
    from crosscue.methods.registry import method_class

    config_class = method_class(chosen(arguments, "method", AdaptOptions.method)).config_class
    parser = options_parser(
        "adapt",
        "Learns prompts from pairs of pictures and sentences, and writes a run folder.",
        (SourceOptions, None),
        (AdaptOptions, None),
        (BackboneOptions, None),
        (config_class, "options"),
    )
    given = parser.parse_args(arguments)
    values = parser.instantiate(given).as_dict()
    values.pop("config", None)
    if not values["data"]:
        raise DataError("say what to learn from: crosscue adapt --data SOURCE (a folder, a CSV or JSONL file, ...).")

    from crosscue.api import adapt
    from crosscue.data.sources import Reading, read_pairs

    reading = Reading(**{name: values.pop(name) for name in Reading.__dataclass_fields__})
    source = values.pop("data")
    options = values.pop("options", None)
    run = adapt(
        read_pairs(source, reading=reading),
        options=options,
        record={"data": source, **plain(asdict(reading))},
        **values,
    )
    outcome, folder = run.outcome, run.folder
    assert outcome is not None
    best = f", best validation Rsum {outcome.best_rsum:.2f} at epoch {outcome.best_epoch}" if outcome.best_rsum else ""
    sys.stdout.write(f"{outcome.ended} after {outcome.steps:,} steps and {outcome.seconds:,.0f} s{best}: {folder}\n")
    if outcome.ended == "interrupted":
        sys.stdout.write(f"continue with the same command and --out {folder} --resume\n")
        return 130
    sys.stdout.write(f"measure it: crosscue evaluate {folder} --data {source}\n")
    return 0


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values as YAML can hold them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
