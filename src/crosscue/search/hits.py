"""Results of a search."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscue.encoding.line import Line
    from crosscue.search.background import Background


@dataclass(frozen=True)
class Hit:
    """An image that was found."""

    id: str
    path: str
    """Absolute path of the file, or the path below its root where the root is unknown."""
    score: float
    """The cosine with the query, whatever ordered the hits."""
    z: float | None
    """Spreads above the mean of the query over random images; None in a space of few images."""
    likely: bool
    """True above the line, and for an image whose words contain the query's words."""
    copies: list[str] = field(default_factory=list)
    """Paths of further hits that are copies of this one."""
    captions: list[str] = field(default_factory=list)
    taken: datetime | None = None
    width: int = 0
    height: int = 0
    content: str = ""
    """SHA-256 of the file, which names its thumbnail."""
    vector_rank: int | None = None
    """Place by the vector, from 1; None if only the words found the image."""
    text_rank: int | None = None
    """Place by the words, from 1; None if the words did not find the image."""
    matched: str | None = None
    """Field that holds the words: caption, name or folder."""
    reranked: float | None = None
    """Score of re-ranking, which has another scale."""
    other_rank: int | None = None
    """Place in the other space of a comparison; None if it is not among its first hits."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the hit as JSON."""
        return asdict(self) | {"taken": self.taken.isoformat() if self.taken else None}


@dataclass(frozen=True)
class Hits:
    """Hits of one query in one space, best first: the likely ones, then the others."""

    hits: list[Hit]
    space: str
    likely_count: int
    """Number of likely hits among `hits`."""
    background: Background | None
    line: Line
    normalised: bool
    """True if the order is corrected for hubness."""
    truncated: list[str] = field(default_factory=list)
    """Sentences about texts that were too long to be read whole."""
    uncertainty: float | None = None
    """The method's own uncertainty about the query; None where it has none."""
    took_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds of the parts."""

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> list[Hit]: ...
    def __getitem__(self, place: int | slice) -> Hit | list[Hit]:
        return self.hits[place]

    def to_dict(self) -> dict[str, Any]:
        """Returns the hits as JSON."""
        return {
            "space": self.space,
            "hits": [hit.to_dict() for hit in self.hits],
            "likely_count": self.likely_count,
            "background": asdict(self.background) if self.background else None,
            "line": asdict(self.line),
            "normalised": self.normalised,
            "truncated": self.truncated,
            "uncertainty": self.uncertainty,
            "took_ms": self.took_ms,
        }
