"""Ranks: the number of candidates that beat the right one, exact, with ties, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosscue.errors import CrosscueError
from crosscue.retrieval.reranking import Reranked
from crosscue.retrieval.scores import Cosines, Scores

TIE = 1e-6
"""Scores closer than this count as tied. It is above the rounding of a float32 dot product of unit vectors, so that equal
embeddings are always tied. It is far below any difference that means something."""

BLOCK = 255
"""Most images compared with all captions at once."""
AT_ONCE = 24_000_000
"""Most scores held at once: 96 MB."""
COLUMNS = 2_048
"""Captions whose scores are compared at once: a tile of them stays in the cache of a core."""


@dataclass(frozen=True)
class Ranks:
    """For every query of one direction, where its best positive stands."""

    better: np.ndarray
    """(Q,) candidates whose score is above the best positive's by more than `TIE`."""
    tied: np.ndarray
    """(Q,) candidates within `TIE` of it, itself included."""
    tied_positives: np.ndarray
    """(Q,) positives among the tied, at least 1."""


def ranks(images: Tensor, texts: Tensor, owner: Tensor, *, block: int = BLOCK) -> tuple[Ranks, Ranks]:
    """Ranks both directions by cosine: (N, D) and (M, D) unit vectors; see `rank_scores`."""
    return rank_scores(Cosines(images, texts), owner, block=block)


def rank_scores(scores: Scores, owner: Tensor, *, block: int = BLOCK) -> tuple[Ranks, Ranks]:
    """Ranks both directions: image to text (any of the image's captions counts) and text to image.

    Args:
        scores: of N images and M captions.
        owner: (M,) the image each caption belongs to; every image has at least one caption.
        block: images per block.

    Raises:
        CrosscueError: an image has no caption.
    """
    _require_captions(scores.image_count, owner)
    return rank_links(scores, owner, torch.arange(scores.caption_count), block=block)


def rank_links(scores: Scores, image: Tensor, caption: Tensor, *, block: int = BLOCK) -> tuple[Ranks, Ranks]:
    """Ranks both directions in one pass over the scores: image to text and text to image.

    Args:
        scores: of N images and M captions.
        image: (L,) images of the right pairs; every image has at least one.
        caption: (L,) their captions; every caption has at least one image, and may have several.
        block: images per block; memory is `block` x M scores, and at most `AT_ONCE`.
    """
    order = torch.argsort(image, stable=True)  # by image: the right pairs of a block are one slice
    image, caption = image[order], caption[order]
    count, total = scores.image_count, scores.caption_count
    own_i2t, own_t2i = scores.own(image, caption)  # (L,)
    i2t, t2i = Places(own_i2t, image, count), Places(own_t2i, caption, total)
    block = max(min(block, AT_ONCE // total, count), 1)
    counter = Counter(block, COLUMNS)
    for start in range(0, count, block):
        rows = slice(start, min(start + block, count))
        by_image, by_text = scores.block(rows, slice(0, total))  # (b, M), (b, M)
        first, last = torch.searchsorted(image, torch.tensor([rows.start, rows.stop])).tolist()
        places = image[first:last] - start, caption[first:last]
        by_image[places], by_text[places] = own_i2t[first:last], own_t2i[first:last]  # exact against itself
        for begin in range(0, total, COLUMNS):
            columns = slice(begin, min(begin + COLUMNS, total))
            i2t.count(counter, by_image[:, columns], rows, axis=1)
            t2i.count(counter, by_text[:, columns], columns, axis=0)
    return i2t.ranks(), t2i.ranks()


class Places:
    """Places of the best positive of Q queries, counted tile by tile."""

    def __init__(self, own: Tensor, query: Tensor, count: int) -> None:
        """Takes the scores (L,) of the right pairs and their queries (L,)."""
        best = torch.full((count,), -torch.inf).scatter_reduce(0, query, own, "amax")  # (Q,)
        self.high, self.low = best + TIE, best - TIE
        self.positives = torch.zeros(count, dtype=torch.int64).scatter_add(0, query, (own > self.low[query]).long())
        self.above = torch.zeros(2, count, dtype=torch.int64)  # above the tie, above its lower end

    def count(self, counter: Counter, scores: Tensor, queries: slice, *, axis: int) -> None:
        """Counts a tile (b, m): the queries are its rows with axis 1, and its columns with axis 0."""
        for row, threshold in enumerate((self.high[queries], self.low[queries])):
            self.above[row, queries] += counter.above(scores, threshold[:, None] if axis else threshold, axis=axis)

    def ranks(self) -> Ranks:
        """Returns the ranks of all queries."""
        high, low = self.above
        return Ranks(high.numpy(), (low - high).numpy(), self.positives.numpy())


def reranked(again: tuple[Reranked, Reranked], owner: Tensor, plain: tuple[Ranks, Ranks]) -> tuple[Ranks, Ranks]:
    """Returns the ranks of both directions after re-ranking, read off the new scores.

    Args:
        again: candidates and new scores of both directions.
        owner: (M,) the image of each caption.
        plain: ranks before re-ranking; they stay for queries without a positive among their candidates.
    """

    def direction(part: Reranked, before: Ranks) -> Ranks:
        better, tied, positives = before.better.copy(), before.tied.copy(), before.tied_positives.copy()
        right = owner[part.caption] == part.image  # (Q, k)
        found = right.any(1)
        own, where = placed(part.scores[found], right[found]), found.numpy()
        better[where], tied[where], positives[where] = own.better, own.tied, own.tied_positives
        return Ranks(better, tied, positives)

    return direction(again[0], plain[0]), direction(again[1], plain[1])


def placed(scores: Tensor, right: Tensor) -> Ranks:
    """Reads off where the best right candidate stands: (b, k) scores and (b, k) bool, true in every row -> ranks of b queries."""
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    near = (scores - best).abs() <= TIE
    counts = ((scores > best + TIE), near, near & right)
    return Ranks(*(count.sum(1).numpy() for count in counts))


class Counter:
    """Counts comparisons of a block of scores in a buffer that is made once: fresh memory would cost more than counting."""

    def __init__(self, rows: int, columns: int) -> None:
        self.flags = torch.empty(rows, columns, dtype=torch.bool)

    def above(self, scores: Tensor, threshold: Tensor, *, axis: int) -> Tensor:
        """(b, M) scores -> how many are above the threshold, along an axis; the threshold is (b, 1) or (M,)."""
        flags = torch.gt(scores, threshold, out=self.flags[: len(scores), : scores.shape[1]]).numpy()
        if axis == 1:
            return torch.tensor([np.count_nonzero(row) for row in flags])  # (b,) counts bytes 64 at a time
        bytes_ = flags.view(np.uint8)
        parts = [
            bytes_[start : start + 255].sum(0, dtype=np.uint8) for start in range(0, len(bytes_), 255)
        ]  # no overflow
        return torch.from_numpy(np.sum(parts, axis=0, dtype=np.int64))  # (M,)


def _require_captions(count: int, owner: Tensor) -> None:
    without = count - len(torch.unique(owner))
    if without:
        raise CrosscueError(
            f"{without} images of the gallery have no caption, so they cannot be evaluated. Remove them."
        )
