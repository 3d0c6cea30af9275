"""Hits on standard output: a table, two tables side by side, or paths."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.terminal_images import drawn, protocol_of
from crosscue.search.hits import Hit, Hits

NOTHING = "nothing here looks like that; closest:"
BELOW = "below: probably not"
CONTROLS = ("Cc", "Zl", "Zp")
"""Categories of characters that are shown as escapes."""


@dataclass(frozen=True)
class Output:
    """Form of the output."""

    paths: bool = False
    paths0: bool = False
    quiet: bool = False
    """Nothing but JSON is printed."""
    thumbs: str = "off"

    def hits(self, hits: Hits) -> None:
        """Prints the hits of one space; what is said about the query goes to standard error."""
        if self.quiet:
            return
        if self.paths or self.paths0:
            _print_paths(hits, "\0" if self.paths0 else "\n")
            if len(hits) and not hits.likely_count:
                sys.stderr.write(f"{hits.space}: {NOTHING}\n")
            _notes(hits)
            return
        protocol = protocol_of(self.thumbs)
        if not len(hits):
            sys.stdout.write("no image meets the conditions.\n")
        elif not hits.likely_count:
            sys.stdout.write(f"{NOTHING}\n")
        for place, hit in enumerate(hits, 1):
            if place == hits.likely_count + 1 and hits.likely_count:
                sys.stdout.write(f"{BELOW}\n")
            _write(line_of(place, hit) + "\n")
            if protocol is not None:
                sys.stdout.write(drawn(Path(hit.path), protocol))
        _notes(hits)

    def both(self, left: Hits, right: Hits) -> None:
        """Prints the hits of two spaces side by side, each with its place in the other."""
        if self.quiet:
            return
        if self.paths or self.paths0:
            _print_paths(left, "\0" if self.paths0 else "\n")
            return
        width = max((shutil.get_terminal_size((140, 40)).columns - 6) // 2, 20)
        _write(f"    {left.space:<{width}}{right.space}\n")
        for place in range(max(len(left), len(right))):
            cells = [_cell(side[place], width - 2) if place < len(side) else "" for side in (left, right)]
            _write(f"{place + 1:>3} {cells[0]:<{width}}{cells[1]}".rstrip() + "\n")
        for side in (left, right):
            _notes(side)


def line_of(place: int, hit: Hit) -> str:
    """Returns the line of a hit: place, score, z, path, and why it is here."""
    z = f"{hit.z:+5.1f}" if hit.z is not None else "     "
    notes = [f"in {hit.matched}"] if hit.matched else []
    notes += [f"re-ranked {hit.reranked:.3f}"] if hit.reranked is not None else []
    notes += [f"{len(hit.copies)} cop{'y' if len(hit.copies) == 1 else 'ies'}"] if hit.copies else []
    notes += [f"“{hit.captions[0][:60]}”"] if hit.captions else []
    return shown(f"{place:>3} {hit.score:6.3f} {z}  {hit.path}" + (f"  ({', '.join(notes)})" if notes else ""))


def shown(text: str) -> str:
    """Returns a text on one line, without characters that a terminal obeys: names and captions may be anybody's."""
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one) in CONTROLS else one for one in text
    )


def _cell(hit: Hit, width: int) -> str:
    other = f"#{hit.other_rank}" if hit.other_rank else "-"
    name = shown(Path(hit.path).name)
    room = width - 14
    name = name if len(name) <= room else f"…{name[1 - room :]}"
    return f"{hit.score:6.3f} {other:>4} {'' if hit.likely else '~'}{name}"


def _notes(hits: Hits) -> None:
    notes = list(hits.truncated)
    if hits.normalised:
        notes.append("order corrected for images that are found for everything (--normalise off)")
    if hits.uncertainty is not None:
        notes.append(f"uncertainty of the method {hits.uncertainty:.2f}")
    sys.stderr.writelines(f"{hits.space}: {note}\n" for note in notes)


def _print_paths(hits: Hits, end: str) -> None:
    for hit in hits:
        _write(hit.path + end)


def _write(text: str) -> None:
    """Writes a text whose names may hold bytes that are no UTF-8."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")
    sys.stdout.write(text)
