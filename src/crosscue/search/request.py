"""Options of one search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crosscue.errors import OptionError
from crosscue.search.filters import checked_sql, parsed

MOST = 10_000
"""Most hits of a search."""


@dataclass(frozen=True)
class Request:
    """Options of one search."""

    k: int = 10
    """Number of hits."""
    exact: bool = False
    """Read every vector instead of the index."""
    filter: str = ""
    """Conditions, such as `taken>=2024-06 camera:Canon folder:trips/ -format:gif width>2000 caption:"birthday"`."""
    where: str | None = None
    """A further condition in SQL, for what --filter cannot express."""
    text: Literal["auto", "only", "off"] = "auto"
    """Search of words in captions and names. `auto`: joined with the search by vector where it finds all words. `only`: without
    the vector. `off`: the vector alone."""
    rerank: str | None = None
    """Mode of re-ranking, for methods that have one."""
    top: int = 50
    """Number of first hits that are re-ranked."""
    all: bool = False
    """Also hits below the line, where results are probably wrong."""
    group: bool = True
    """Show copies of an image once."""
    sort: Literal["score", "taken"] = "score"
    """Order of the hits: best first, or latest first."""
    normalise: Literal["auto", "on", "off"] = "auto"
    """Correction of hubness: images that are near to every text lose that amount. `auto`: on where the run's validation says that it helps."""

    def __post_init__(self) -> None:
        """Checks numbers, conditions and combinations.

        Raises:
            OptionError: a value cannot be, or the filter is wrong.
        """
        for name in ("k", "top"):
            if not 1 <= getattr(self, name) <= MOST:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be 1 to {MOST:,}.")
        parsed(self.filter)
        if self.where is not None:
            checked_sql(self.where)
        if self.text == "only" and self.rerank:
            raise OptionError("--rerank scores hits of the vector again. Leave out --rerank, or --text only.")
