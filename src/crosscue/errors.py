"""Errors for the user: one line with the fault, its place and the remedy."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class CrosscueError(Exception):
    """A fault that the user can put right. The command line prints it as one line and exits with code 2."""

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        """Keeps one line that every terminal can show: line breaks become spaces, half characters escapes."""
        super().__init__(" ".join(message.encode("utf-8", "backslashreplace").decode().splitlines()))


class DataError(CrosscueError):
    """A source of pairs, a row of it, or one of its images cannot be used."""

    def __init__(self, message: str = "", kind: str = "rows with faults") -> None:
        """Keeps the line, and the kind of fault that `crosscue data check` counts it under."""
        super().__init__(message)
        self.kind = kind


class BackboneError(CrosscueError):
    """A backbone is unknown, incomplete, or not the one of the run."""


class MethodError(CrosscueError):
    """A method is unknown, or its configuration is impossible for the backbone or the data."""


class OptionError(CrosscueError):
    """An option has an unknown name, a wrong type, or a value that is none of the choices."""


class RunError(CrosscueError):
    """A run folder is missing, damaged, or belongs to another configuration."""


class TrainingError(CrosscueError):
    """Training cannot continue; the last good checkpoint is kept."""


class ProcessError(TrainingError):
    """Another process of a run ended, does not answer, or differs."""

    exit_code = 1

    def __init__(self, message: str = "", what: str = "") -> None:
        """Keeps the line, and the thing that was waited for."""
        super().__init__(message)
        self.what = what


class StorageError(CrosscueError):
    """The disk is full, a folder cannot be written, or the content of a file is not the expected one."""


class CollectionError(CrosscueError):
    """A collection of indexed images is missing, damaged, or of another run or format."""


class EndpointError(CrosscueError):
    """No address, no connection, or a refusal that holds for every request. A repetition would not help."""


class NetworkError(CrosscueError):
    """A download failed."""


def suggestion(name: str, choices: Iterable[str]) -> str:
    """Returns `` Did you mean 'x'? Choose from: ...`` for an unknown `name`, to end an error message with."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return (f" Did you mean '{near[0]}'?" if near else "") + f" Choose from: {', '.join(known)}."
