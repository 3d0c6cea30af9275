"""Options of a walk through the roots of a collection, which keeps them for its later runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scan:
    """Options of a walk through a root."""

    exclude: tuple[str, ...] = ()
    """Globs over names and over paths below the root; an excluded folder is not entered."""
    hidden: bool = False
    """True: files and folders whose name begins with a dot are read too."""
    follow_links: bool = False
    """True: links to files and folders are followed. A folder is entered once, so circles end."""
