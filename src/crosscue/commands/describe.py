"""crosscue describe KIND SOURCE: text that a model or a parser writes about images and captions."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from crosscue.errors import CrosscueError, suggestion

KINDS = {
    "captions": ("one sentence or more for each picture, naming its class", "crosscue.commands.describe_captions"),
    "triplets": ("who does what in each caption, and how that looks", "crosscue.commands.describe_triplets"),
    "states": ("the same: triplets and their states come from one run", "crosscue.commands.describe_triplets"),
    "views": ("each training picture as a whole, its background, its entities", "crosscue.commands.describe_views"),
    "audit": ("what a file of triplets covers, and how two of them differ", "crosscue.commands.describe_audit"),
}
"""Kind -> what it is, and the module whose `run(arguments)` makes it."""


def run(arguments: list[str]) -> int:
    """Runs one kind."""
    asked = arguments[0] if arguments else ""
    if asked in ("", "-h", "--help"):
        width = max(map(len, KINDS))
        kinds = "\n".join(f"  {kind:<{width}}  {what}" for kind, (what, _) in KINDS.items())
        sys.stdout.write(
            f"usage: crosscue describe KIND SOURCE --out FOLDER [options]\n\n{kinds}\n\n"
            "`crosscue describe KIND --help` lists the options.\n"
        )
        return 0
    if asked not in KINDS:
        raise CrosscueError(
            f"there is no 'describe {asked}'.{suggestion(asked, KINDS)} Usage: crosscue describe captions SOURCE --out FOLDER"
        )
    kind: Any = importlib.import_module(KINDS[asked][1])
    code: int = kind.run(arguments[1:])
    return code
