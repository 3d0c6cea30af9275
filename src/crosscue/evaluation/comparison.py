"""Before and after on the same queries: differences with intervals, and the queries that changed most."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from crosscue.data.pairs import Pairs
from crosscue.errors import CrosscueError
from crosscue.evaluation.intervals import Difference, difference
from crosscue.evaluation.recall import KS, hits
from crosscue.evaluation.result import DIRECTIONS, Retrieval
from crosscue.retrieval.reranking import order


@dataclass(frozen=True)
class Comparison:
    """Two results on the same pairs."""

    before: Retrieval
    after: Retrieval
    differences: dict[str, dict[str, Difference]]
    """direction -> r1, r5, r10 -> after minus before."""

    def to_dict(self) -> dict[str, object]:
        """Returns plain types for JSON."""
        return {d: {key: asdict(change) for key, change in by_k.items()} for d, by_k in self.differences.items()}


def compare(before: Retrieval, after: Retrieval) -> Comparison:
    """Pairs two results query by query.

    Raises:
        CrosscueError: they were measured on different pairs.
    """
    if before.protocol["data_fingerprint"] != after.protocol["data_fingerprint"]:
        raise CrosscueError(
            f"the two results are of different pairs ({before.protocol['source']} and {after.protocol['source']}, or other "
            "captions). Measure both on the same split."
        )
    return Comparison(
        before,
        after,
        {
            direction: {
                f"r{k}": difference(
                    hits(before.ranks[direction], k), hits(after.ranks[direction], k), after.clusters(direction)
                )
                for k in KS
            }
            for direction in DIRECTIONS
        },
    )


@dataclass(frozen=True)
class Example:
    """One caption as a query, and the images it found before and after."""

    caption: int
    image: int
    """The image it belongs to."""
    rank_before: int
    rank_after: int
    top_before: list[int]
    top_after: list[int]


def examples(
    comparison: Comparison, pairs: Pairs, *, count: int = 5, top: int = 5
) -> tuple[list[Example], list[Example]]:
    """Returns the captions whose image rose most, and those whose image fell most, by the logarithm of the rank.

    The order is fixed by ranks, then by position in the pairs: nobody picks.
    """
    before, after = _rank(comparison.before), _rank(comparison.after)
    change = np.log(before) - np.log(after)
    order = np.lexsort((np.arange(len(change)), -change))
    rose = [int(caption) for caption in order if change[caption] > 0][:count]
    fell = [int(caption) for caption in order[::-1] if change[caption] < 0][:count]
    owner = pairs.caption_owner

    def example(caption: int) -> Example:
        shown = [top_images(result, caption, top) for result in (comparison.before, comparison.after)]
        return Example(caption, owner[caption], int(before[caption]), int(after[caption]), *shown)

    return [example(caption) for caption in rose], [example(caption) for caption in fell]


def top_images(result: Retrieval, caption: int, top: int = 5) -> list[int]:
    """Returns the first images of a caption, best first, in the order of the ranks: after re-ranking, where there is any."""
    if result.scores is None:
        raise CrosscueError("a result read from JSON has no scores to show examples with. Measure again.")
    scores = result.scores.block(slice(None), slice(caption, caption + 1))[1][:, 0]  # (N,)
    if result.again is None:
        return torch.topk(scores, min(top, len(scores))).indices.tolist()
    by_caption = result.again[1]
    return order(scores, by_caption.image[caption], by_caption.scores[caption])[:top].tolist()


def _rank(result: Retrieval) -> np.ndarray:
    ranks = result.ranks["t2i"]
    return ranks.better + (ranks.tied - 1) / 2 + 1
