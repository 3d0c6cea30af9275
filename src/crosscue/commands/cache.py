"""crosscue cache: list the content of the cache folder, and remove what was not used."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from crosscue.commands.parser import options_parser, taken
from crosscue.errors import OptionError


@dataclass(frozen=True)
class CacheOptions:
    """Options of the cache."""

    prune: float | None = None
    """Days: images that were decoded or encoded for reading again, and not used for so long, are removed. 0: all."""


def run(arguments: list[str]) -> int:
    """Lists the cache, and removes what was not used."""
    parser = options_parser("cache", "Lists the content of the cache folder (CROSSCUE_CACHE).", (CacheOptions, None))
    days = taken(parser.instantiate(parser.parse_args(arguments)), CacheOptions).prune
    if days is not None and not days >= 0:
        raise OptionError(f"prune is {days}; it must be a number of days from 0 on.")

    from crosscue.data.cached import cached, prune
    from crosscue.storage import cache_dir

    if days is not None:
        for entry in prune(days):
            sys.stdout.write(f"removed {entry.size / 1e6:,.1f} MB, unused for {entry.idle:.0f} days: {entry.about}\n")
    entries = cached()
    for entry in entries:
        images = f"{entry.images:,} images, " if entry.computed else ""
        name = entry.folder.relative_to(cache_dir())
        sys.stdout.write(f"{entry.size / 1e6:10,.1f} MB  {entry.idle:4.0f} days  {images}{entry.about}  ({name})\n")
    sys.stdout.write(f"{sum(entry.size for entry in entries) / 1e6:10,.1f} MB in {cache_dir()}\n")
    if any(entry.computed for entry in entries):
        sys.stdout.write("remove what was not used for 30 days: crosscue cache --prune 30\n")
    return 0
