"""crosscue describe KIND SOURCE: text that a model or a parser writes about images and captions."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from crosscue.errors import CrosscueError, suggestion

KINDS = {
    "captions": ("one caption for each image, with the name of its class", "crosscue.commands.describe_captions"),
    "triplets": (
        "triplets of each caption (subject, action, object) and their visual states",
        "crosscue.commands.describe_triplets",
    ),
    "states": ("the same command: one run writes triplets and their states", "crosscue.commands.describe_triplets"),
    "views": (
        "three descriptions of each training image: whole, background, entities",
        "crosscue.commands.describe_views",
    ),
    "audit": ("coverage of a file of triplets, and the difference of two files", "crosscue.commands.describe_audit"),
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
