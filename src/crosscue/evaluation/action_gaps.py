"""Actions of a query against those of its first candidate where that is wrong (ACT, arXiv 2506.23502, figure 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from crosscue.evaluation.example_queries import first_candidates
from crosscue.evaluation.result import DIRECTIONS, Retrieval
from crosscue.evaluation.slices import knowledge_of, unread


@dataclass(frozen=True)
class ActionGap:
    """Wrongly answered queries of one direction whose actions are known, and those of their first candidate."""

    wrong: int
    """Queries with a wrong first candidate; query and candidate both have a verb."""
    differing: int
    """Those of them that have no verb in common with the candidate."""

    @property
    def share(self) -> float:
        """Percent of the wrong ones that differ; 0 without any."""
        return 100 * self.differing / self.wrong if self.wrong else 0.0


def action_gaps(result: Retrieval) -> dict[str, ActionGap]:
    """Returns direction -> how often a query and its wrong first candidate have no action in common.

    The actions of an image are those of its captions. Empty where spaCy is absent, or the captions contain no verb.
    """
    if unread() or result.pairs is None or result.scores is None:
        return {}
    known, owner = knowledge_of(tuple(result.pairs.captions)), result.pairs.caption_owner
    of_captions = [
        {deed.action.split()[0] for deed in known[caption].deeds} if caption in known else set()
        for caption in result.pairs.captions
    ]
    of_images: list[set[str]] = [set() for _ in result.pairs]
    for image, deeds in zip(owner, of_captions, strict=True):
        of_images[image] |= deeds
    found = {}
    for direction, candidates in _first(result).items():
        if direction == "i2t":
            pairs = ((of_images[i], of_captions[c]) for i, c in enumerate(candidates) if owner[c] != i)
        else:
            pairs = ((of_captions[c], of_images[i]) for c, i in enumerate(candidates) if owner[c] != i)
        found[direction] = _gap(pairs)
    return {direction: gap for direction, gap in found.items() if gap.wrong}


def _gap(pairs: Iterable[tuple[set[str], set[str]]]) -> ActionGap:
    both = [(query, candidate) for query, candidate in pairs if query and candidate]
    return ActionGap(len(both), sum(query.isdisjoint(candidate) for query, candidate in both))


def _first(result: Retrieval) -> dict[str, list[int]]:
    """Returns direction -> the first candidate of every query, after re-ranking if there is any."""
    assert result.scores is not None
    if result.again is None:
        return {direction: one.tolist() for direction, one in zip(DIRECTIONS, result.firsts, strict=True)}
    counts = (result.scores.image_count, result.scores.caption_count)
    return {
        direction: [first_candidates(result, direction, int(query), 1)[0] for query in torch.arange(count)]
        for direction, count in zip(DIRECTIONS, counts, strict=True)
    }
