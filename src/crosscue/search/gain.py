"""Gain of one space over another on held-out marks: recall of the images that were marked as right for a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscue.data.contents import LENGTH
from crosscue.encoding.query import Term
from crosscue.errors import DataError
from crosscue.intervals import Difference, difference
from crosscue.search.labels import FEWEST_HELD_OUT, Label, groups, splits
from crosscue.search.request import Request

if TYPE_CHECKING:
    from crosscue.search.searching import Searcher

K = 10
"""Hits that count."""
REQUEST = Request(k=K, exact=True, text="off", all=True, group=False)
"""The models are compared, so words in captions do not count."""
PAIRS = "pairs.json"
"""File of a run folder with the hashes of the images that it learned from."""


@dataclass(frozen=True)
class TextGain:
    """One held-out text in both spaces."""

    text: str
    images: int
    """Images that were marked as right."""
    before: float
    """Share of them among the first `K` hits, 0 .. 1; of more than `K`, the share of `K`."""
    after: float


@dataclass(frozen=True)
class Gain:
    """Recall@10 of the marked images of held-out texts, in two spaces."""

    before: str
    """Name of the space."""
    after: str
    texts: list[TextGain]
    trained: int
    """Held-out texts that are left out, because one of the runs has learned from their images."""
    difference: Difference
    """After minus before in points, with a bootstrap over texts; those that share a right image are drawn together."""

    @property
    def known(self) -> bool:
        """True if there are texts enough to know the gain."""
        return len(self.texts) >= FEWEST_HELD_OUT

    @property
    def verdict(self) -> str:
        """Recall before and after with the interval, or the reason why the gain cannot be known."""
        count = len(self.texts)
        one, other = (
            100 * float(np.mean([getattr(each, side) for each in self.texts])) for side in ("before", "after")
        )
        recalls = f"recall@{K} of {count} held-out texts: {one:.1f} -> {other:.1f}"
        if not self.known:
            return f"{recalls}. Below {FEWEST_HELD_OUT} held-out texts the gain cannot be known. Mark more texts."
        found = self.difference
        sure = "higher" if found.low > 0 else "lower" if found.high < 0 else "no difference that can be told"
        return f"{recalls}, {found.mean:+.1f} points ({found.low:+.1f} to {found.high:+.1f}, p {found.p:.4f}): {sure}."

    def to_dict(self) -> dict[str, Any]:
        """Returns the gain as JSON."""
        return asdict(self) | {"known": self.known, "verdict": self.verdict}


def gain(labels: Sequence[Label], before: Searcher, after: Searcher) -> Gain:
    """Measures two spaces of one collection on the held-out texts.

    Raises:
        DataError: no held-out text has a right image that is left.
    """
    split_of = splits(labels)
    contents = _contents(before, {label.image for label in labels})
    right: dict[str, list[str]] = {}
    for label in labels:
        if label.relevant and split_of[label.text] == "test" and label.image in contents:
            right.setdefault(label.text, []).append(label.image)
    learned = learned_from(before.encoder.identity.source) | learned_from(after.encoder.identity.source)
    fresh = [text for text, images in right.items() if not any(contents[one][:LENGTH] in learned for one in images)]
    if not fresh:
        raise DataError("no held-out text has a right image. Mark more texts; about a third of them is held out.")
    texts = [
        TextGain(text, len(right[text]), *(recall(side, text, right[text]) for side in (before, after)))
        for text in fresh
    ]
    cluster = {text: number for number, part in enumerate(groups(labels)) for text in part}
    one, other = (np.array([getattr(each, side) for each in texts]) for side in ("before", "after"))
    found = difference(one, other, np.array([cluster[text] for text in fresh]))
    return Gain(before.space.name, after.space.name, texts, len(right) - len(fresh), found)


def recall(searcher: Searcher, text: str, images: Sequence[str]) -> float:
    """Returns the share of some images among the first hits of a text."""
    found = {hit.id for hit in searcher.search([Term(text)], REQUEST)}
    return len(found.intersection(images)) / min(len(images), K)


def learned_from(source: str) -> set[str]:
    """Returns the hashes of the images that a run learned from; none for a method without a run folder."""
    file = Path(source) / PAIRS
    return set(json.loads(file.read_text(encoding="utf-8"))["train"]) if file.is_file() else set()


def _contents(searcher: Searcher, ids: set[str]) -> dict[str, str]:
    """Returns image id -> hash of its file, of the marked images that the collection has."""
    rows = searcher.collection.table(searcher.space.name).search().select(["id", "content"]).limit(None).to_list()
    return {row["id"]: row["content"] for row in rows if row["id"] in ids}
