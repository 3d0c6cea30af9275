"""crosscue push FOLDER TARGET: a run folder or an export to a repository."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser, taken


@dataclass(frozen=True)
class PushOptions:
    """Options of `crosscue push`."""

    public: bool = False
    """True: a new repository on the Hub is visible to everyone."""


def run(arguments: list[str]) -> int:
    """Pushes, and prints the address."""
    parser = options_parser(
        "push", "Writes a finished run folder or an export to a repository, with its card.", (PushOptions, None)
    )
    parser.add_argument("folder", help="Run folder, or export folder.")
    parser.add_argument("target", help="Id of a repository on the Hub, such as me/birds, or a path such as ./birds.")
    given = parser.instantiate(parser.parse_args(arguments))

    from crosscue.exporting.hub import push

    address = push(Path(given.folder), given.target, private=not taken(given, PushOptions).public)
    sys.stdout.write(f"{address}\nget it: crosscue pull {given.target} --out FOLDER\n")
    return 0
