"""Uncertainty of a text: texts whose scores leave many images possible are the ones to mark next (docs/decisions.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscue.encoding.query import Term
from crosscue.search.labels import Label
from crosscue.search.request import Request

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Floats
    from crosscue.search.searching import Searcher

SCALE = 100.0
"""Factor of the cosines, the logit scale of CLIP."""
REQUEST = Request(k=100, text="off", all=True, group=False)


@dataclass(frozen=True)
class Uncertain:
    """A text and the number of images that its scores leave possible."""

    text: str
    possible: float
    """1 .. 100: the exponential of the entropy of the first 100 scores."""


def possible_images(scores: Floats) -> float:
    """Returns the perplexity of (N,) cosines of one text with its nearest images."""
    if not len(scores):
        return 0.0
    weights = np.exp(SCALE * (scores.astype(np.float64) - scores.max()))
    shares = weights / weights.sum()
    return float(np.exp(-(shares * np.log(np.maximum(shares, 1e-300))).sum()))


def most_uncertain(searcher: Searcher, texts: Iterable[str], labels: Iterable[Label], number: int) -> list[Uncertain]:
    """Returns the texts to mark next: those without marks, the most uncertain ones first."""
    marked = {label.text for label in labels}
    fresh = [text for text in dict.fromkeys(text.strip() for text in texts) if text and text not in marked]
    found = [
        Uncertain(text, possible_images(np.array([hit.score for hit in searcher.search([Term(text)], REQUEST)])))
        for text in fresh
    ]
    return sorted(found, key=lambda one: -one.possible)[:number]
