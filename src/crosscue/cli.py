"""The command line: one subcommand per verb, options from the same dataclasses as Python and YAML."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from crosscue.errors import CrosscueError, suggestion
from crosscue.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "adapt": ("learn prompts from a few pictures and sentences", "crosscue.commands.adapt"),
    "evaluate": ("measure retrieval on held-out pairs, before and after", "crosscue.commands.evaluate"),
    "data": (
        "check a source of pairs, or add hard negatives to it (data check SOURCE, data negatives SOURCE)",
        "crosscue.commands.data",
    ),
    "describe": (
        "write captions, triplets and states, or views with a model, a parser or rules (describe KIND SOURCE)",
        "crosscue.commands.describe",
    ),
    "bench": ("measure grids of methods, domains, shots and seeds as tables and curves", "crosscue.commands.bench"),
    "methods": ("list the methods and their options", "crosscue.commands.methods"),
    "demo": ("adapt a real model to real pictures in a few minutes, and see what changed", "crosscue.commands.demo"),
}
"""Verb -> what it does, and the module whose `run(arguments)` does it; imported only when asked for."""


def usage() -> str:
    """Returns the text of `crosscue --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {what}" for verb, (what, _) in VERBS.items())
    return (
        "usage: crosscue VERB [options]\n\n"
        "Adapt a pre-trained image-text model to your own pictures and sentences, and prove that retrieval got better.\n\n"
        f"{verbs}\n\n"
        "`crosscue VERB --help` lists the options of a verb. `crosscue --version` prints the version.\n"
        "Start with: crosscue demo\n"
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one verb and exits: 0 done, 2 the user can put it right, 130 interrupted."""
    sys.exit(dispatch(list(sys.argv[1:] if arguments is None else arguments)))


def dispatch(arguments: list[str]) -> int:
    """Runs one verb and returns the exit code; every error the user can put right becomes one line."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"crosscue {__version__}\n")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        sys.stderr.write(f"crosscue: there is no verb '{verb}'.{suggestion(verb, VERBS)}\n")
        return 2
    try:
        command: Any = importlib.import_module(VERBS[verb][1])
        return int(command.run(rest) or 0)
    except CrosscueError as error:
        sys.stderr.write(f"crosscue {verb}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"crosscue {verb}: interrupted\n")
        return 130
