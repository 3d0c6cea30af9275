"""crosscue data fdrd FILE ...: count the faults in files of the FDRD release."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser
from crosscue.errors import DataError


@dataclass(frozen=True)
class FdrdOptions:
    """Options of the counts."""

    json: Path | None = None
    """Write the counts to this file as JSON."""


def run(arguments: list[str]) -> int:
    """Prints one column a file, as a Markdown table."""
    parser = options_parser("data fdrd", "Count the faults in files of the FDRD release.", (FdrdOptions, None))
    parser.add_argument("files", nargs="*", type=Path, help="JSON files of the release.")
    given = parser.instantiate(parser.parse_args(arguments))
    if not given.files:
        raise DataError("no files. Name them: crosscue data fdrd pets_test.json flower_test.json")

    from crosscue.data.fdrd_defects import fdrd_defects
    from crosscue.markdown import markdown_table
    from crosscue.storage import write_json

    found = {path.stem: fdrd_defects(path) for path in given.files}
    rows = [
        [name.replace("_", " "), *(number(one[name]) for one in found.values())] for name in next(iter(found.values()))
    ]
    sys.stdout.write(markdown_table(["", *found], rows) + "\n")
    if given.json is not None:
        write_json(given.json, found)
    return 0


def number(value: float) -> str:
    """Returns a number with separators; a fraction with two digits."""
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
