"""Queries that changed most between two results, and their first candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from crosscue.data.pairs import Pairs
from crosscue.errors import CrosscueError
from crosscue.evaluation.comparison import Comparison
from crosscue.evaluation.result import Retrieval
from crosscue.retrieval.reranking import order


@dataclass(frozen=True)
class Example:
    """One query, and its first candidates before and after."""

    query: int
    """Index of a caption, or of an image."""
    right: frozenset[int]
    """Indices of the right candidates: the image of a caption, or the captions of an image."""
    rank_before: int
    rank_after: int
    top_before: list[int]
    top_after: list[int]


@dataclass(frozen=True)
class Examples:
    """The queries of one direction that changed most, as many of each kind where there are so many."""

    rose: list[Example]
    fell: list[Example]
    risen: int
    """Number of all queries with a better rank than before."""
    fallen: int
    """Number of all queries with a worse rank than before."""


def examples(comparison: Comparison, pairs: Pairs, direction: str, *, count: int = 5, top: int = 5) -> Examples:
    """Returns the queries whose right answer rose most, and those whose right answer fell most, by the logarithm of the rank.

    The order is fixed by ranks, then by position in the pairs: nobody picks.
    """
    before, after = _rank(comparison.before, direction), _rank(comparison.after, direction)
    change = np.log(before) - np.log(after)
    largest = np.lexsort((np.arange(len(change)), -change))
    rose = [int(query) for query in largest if change[query] > 0]
    fell = [int(query) for query in largest[::-1] if change[query] < 0]
    owner = pairs.caption_owner

    def example(query: int) -> Example:
        own = [owner[query]] if direction == "t2i" else [c for c, image in enumerate(owner) if image == query]
        first = [first_candidates(result, direction, query, top) for result in (comparison.before, comparison.after)]
        return Example(query, frozenset(own), int(before[query]), int(after[query]), *first)

    return Examples([example(q) for q in rose[:count]], [example(q) for q in fell[:count]], len(rose), len(fell))


def first_candidates(result: Retrieval, direction: str, query: int, top: int = 5) -> list[int]:
    """Returns the first candidates of a query, best first, in the order of the ranks: after re-ranking, where there is any."""
    if result.scores is None:
        raise CrosscueError("a result read from JSON has no scores to show examples with. Measure again.")
    one = slice(query, query + 1)
    rows, columns = (slice(None), one) if direction == "t2i" else (one, slice(0, result.scores.caption_count))
    scores = result.scores.block(rows, columns)[direction == "t2i"].flatten()  # (C,)
    if result.again is None:
        return torch.topk(scores, min(top, len(scores))).indices.tolist()
    again = result.again[direction == "t2i"]
    candidates = again.image if direction == "t2i" else again.caption
    return order(scores, candidates[query], again.scores[query])[:top].tolist()


def _rank(result: Retrieval, direction: str) -> np.ndarray:
    ranks = result.ranks[direction]
    return ranks.better + (ranks.tied - 1) / 2 + 1
