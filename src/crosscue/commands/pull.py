"""crosscue pull SOURCE --out FOLDER: a run folder or an export from a repository."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser, taken


@dataclass(frozen=True)
class PullOptions:
    """Options of `crosscue pull`."""

    out: Path | None = None
    """New folder; default runs/NAME of the repository."""


def run(arguments: list[str]) -> int:
    """Pulls, and prints the folder."""
    parser = options_parser(
        "pull",
        "Copies a run folder or an export from a repository; every file is checked by its hash.",
        (PullOptions, None),
    )
    parser.add_argument(
        "source", help="Id of a repository on the Hub, such as me/birds or me/birds@v2, or a local folder."
    )
    given = parser.instantiate(parser.parse_args(arguments))

    from crosscue.exporting.hub import pull

    out = taken(given, PullOptions).out or Path("runs") / Path(given.source.partition("@")[0]).name
    sys.stdout.write(f"{pull(given.source, out)}\n")
    return 0
