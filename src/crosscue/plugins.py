"""Entry points of installed packages: what a plug-in adds, and the reason for one that fails."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from crosscue.errors import CrosscueError

_failed: dict[tuple[str, str], str] = {}


def plugged(group: str) -> dict[str, EntryPoint]:
    """Returns the entry points of a group by name, e.g. `crosscue.readers`; nothing is imported."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def loaded(point: EntryPoint) -> Any | None:
    """Returns what an entry point refers to, or None with one warning on stderr where its import fails."""
    key = (point.group, point.value)
    if key in _failed:
        return None
    try:
        return point.load()
    except Exception as error:  # a plug-in is foreign code: whatever it raises, the rest goes on
        _failed[key] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        sys.stderr.write(f"warning: {failure(point)}\n")
        return None


def failure(point: EntryPoint) -> CrosscueError:
    """Returns the error for a plug-in whose import failed, with its name and reason."""
    package = f" of {point.dist.name}" if point.dist else ""
    reason = _failed.get((point.group, point.value), "unknown")
    return CrosscueError(
        f"plug-in '{point.name}'{package} ({point.value}) cannot be imported ({reason}). Correct or uninstall the package."
    )
