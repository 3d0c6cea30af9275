"""crosscue data ACTION SOURCE: look at a source of pairs, or write what is missing in it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from crosscue.errors import CrosscueError, suggestion

ACTIONS = {
    "check": ("report what is wrong with a source of pairs", "crosscue.commands.data_check"),
    "negatives": ("write edited captions that are wrong for their picture", "crosscue.commands.data_negatives"),
    "fdrd": ("count what is wrong with files of the FDRD release", "crosscue.commands.data_fdrd"),
}
"""Action -> what it does, and the module whose `run(arguments)` does it."""


def run(arguments: list[str]) -> int:
    """Runs one action."""
    asked = arguments[0] if arguments else ""
    if asked in ("-h", "--help"):
        width = max(map(len, ACTIONS))
        lines = "\n".join(f"  {action:<{width}}  {what}" for action, (what, _) in ACTIONS.items())
        sys.stdout.write(f"usage: crosscue data ACTION SOURCE [options]\n\n{lines}\n")
        return 0
    if asked not in ACTIONS:
        raise CrosscueError(f"there is no 'data {asked}'.{suggestion(asked, ACTIONS)} See `crosscue data --help`.")
    action: Any = importlib.import_module(ACTIONS[asked][1])
    code: int = action.run(arguments[1:])
    return code
