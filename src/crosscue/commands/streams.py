"""Standard output and standard error as they are: another encoding than UTF-8, or a reader that leaves early."""

from __future__ import annotations

import codecs
import errno
import os
import sys

STAND_INS = {"→": "->", "←": "<-", "≤": "<=", "≥": ">=", "“": '"', "”": '"', "’": "'", "–": "-", "…": "...", "×": "x"}
"""Character -> text in ASCII, for encodings that lack the character."""
NAME = "crosscue.stand_in"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Refusals of a device that takes no more output."""
CLOSED = 141
"""Exit code where the reader of the output has left, as shells have it."""


def stand_in(error: UnicodeError) -> tuple[str, int]:
    """Returns the text for characters that an encoding lacks: a stand-in, or `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(STAND_INS.get(character, "?") for character in lacking), error.end


def take_any_character() -> None:
    """Lets standard output and standard error take characters that their encodings lack; a closed one takes all."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # a shell closed it, as in `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    codecs.register_error(NAME, stand_in)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=NAME)


def leave_quietly() -> int:
    """Drops what is left to write, because nobody reads it, and returns the exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return CLOSED
