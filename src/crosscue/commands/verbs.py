"""Tables of verbs. A module is imported only when its verb runs, so that `--help` is quick."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosscue.errors import CrosscueError, suggestion
from crosscue.progress import starting

QUICK = ("-h", "--help", "--print_")
"""Beginnings of options that compute nothing."""


@dataclass(frozen=True)
class Verbs:
    """The verbs that follow a command, each with its summary and what runs it."""

    command: str
    """The words before the verb, such as `crosscue data`."""
    summary: str
    """Text above the list of verbs."""
    table: Mapping[str, tuple[str, str | Verbs]]
    """Verb -> its summary, and what runs it: a table of further verbs, or a module whose `run(arguments)` does.
    `MODULE:FUNCTION` names another function of it."""
    ending: str = ""
    """Text below the list of verbs."""
    otherwise: Callable[[str], str] = lambda word: ""
    """An unknown verb -> the command it may stand for, or nothing."""

    def help(self) -> str:
        """Returns the text of `--help`."""
        width = max(map(len, self.table))
        verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, (summary, _) in self.table.items())
        return (
            f"usage: {self.command} VERB [options]\n\n{self.summary}\n\n{verbs}\n\n"
            f"`{self.command} VERB --help` lists the options of a verb, and --help-all every one.{self.ending}\n"
        )

    def named(self, arguments: Sequence[str]) -> str:
        """Returns the command with the verbs that `arguments` begins with, such as `crosscue data check`."""
        verb = arguments[0] if arguments else ""
        if verb not in self.table:
            return self.command
        found = self.table[verb][1]
        return found.named(arguments[1:]) if isinstance(found, Verbs) else f"{self.command} {verb}"

    def run(self, arguments: Sequence[str]) -> int:
        """Runs the verb that `arguments` begins with and returns its exit code; without one, prints the help.

        Raises:
            CrosscueError: there is no such verb, or the verb raises it.
        """
        verb, *rest = arguments or ["--help"]
        if verb in ("-h", "--help", "help"):
            sys.stdout.write(self.help())
            return 0
        if verb not in self.table:
            hint = self.otherwise(verb) or f"{suggestion(verb, self.table)} See `{self.command} --help`."
            raise CrosscueError(f"there is no verb '{verb}'.{hint}")
        found = self.table[verb][1]
        if isinstance(found, Verbs):
            return found.run(rest)
        quick = "torch" in sys.modules or any(argument.startswith(QUICK) for argument in rest)
        with contextlib.nullcontext() if quick else starting(f"{self.command} {verb}"):
            module, _, function = found.partition(":")
            runner: Any = importlib.import_module(f"crosscue.commands.{module}")
            return int(getattr(runner, function or "run")(rest) or 0)
