"""The method of `adapt` where none is named."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from crosscue.methods.registry import method_names, unknown
from crosscue.progress import note

if TYPE_CHECKING:
    from crosscue.training.config import TrainingConfig

AUTO, SINGLE = "auto", "dual_prompt"
"""The default method, and the default where options of a single training are given."""
HOME = "selection"
"""Folder of a search in its run folder."""
FREE = ("batch_size", "clip_grad", "rows_at_once", "seed")
"""Options of training that a search takes as they are given. It chooses the others itself."""


def named_method(method: str | None, *, searched: bool) -> str:
    """Returns the given method. Without one: `auto` for a search, `dual_prompt` for a single training, with a note.

    Raises:
        MethodError: there is no such method; `auto` is among those that the message suggests.
    """
    if method is not None and str(method) not in (names := [AUTO, *method_names()]):
        raise unknown(str(method), names)
    if method is None and not searched:
        note(f"method {SINGLE}, because options of a single training are given; --method chooses another")
    return method or (AUTO if searched else SINGLE)


def chosen_itself(training: TrainingConfig) -> list[str]:
    """Returns the given options of training that a search chooses itself."""
    usual = type(training)()
    given = (entry.name for entry in fields(training) if getattr(training, entry.name) != getattr(usual, entry.name))
    return [name for name in given if name not in FREE]
