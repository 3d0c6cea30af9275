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
"""Images compared with all captions at once."""


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
    """Ranks both directions in one pass over the scores, `block` images at a time.

    Args:
        scores: of N images and M captions.
        owner: (M,) the image each caption belongs to; every image has at least one caption. A caption that stands for
            several images is given once for each.
        block: images per block; memory is `block` x M scores.

    Returns:
        image to text (any of the image's captions counts) and text to image.

    Raises:
        CrosscueError: an image has no caption.
    """
    count, total = scores.image_count, scores.caption_count
    _require_captions(count, owner)
    order = torch.argsort(owner, stable=True)  # captions grouped by image: the positives of a block are one slice
    scores, owner = scores.chosen(order), owner[order]
    first = torch.searchsorted(owner, torch.arange(count + 1))
    own_i2t, own_t2i = scores.own(owner, torch.arange(total))  # (M,) score of each caption with its own image
    best = torch.full((count,), -torch.inf).scatter_reduce(0, owner, own_i2t, "amax")  # (N,)
    i2t = torch.zeros(3, count, dtype=torch.int64)  # better, tied, tied positives
    t2i = torch.zeros(2, total, dtype=torch.int64)  # better, tied
    i2t[2] = torch.zeros(count, dtype=torch.int64).scatter_add(0, owner, (own_i2t > best[owner] - TIE).long())
    counter = Counter(min(block, count), total)
    for start in range(0, count, block):
        stop = min(start + block, count)
        by_image, by_text = scores.block(slice(start, stop), slice(0, total))  # (b, M), (b, M)
        rows, columns = owner[first[start] : first[stop]] - start, torch.arange(int(first[start]), int(first[stop]))
        by_image[rows, columns] = own_i2t[columns]  # a positive is compared with itself exactly
        by_text[rows, columns] = own_t2i[columns]
        high, low = best[start:stop, None] + TIE, best[start:stop, None] - TIE
        i2t[0, start:stop] = counter.above(by_image, high, axis=1)
        i2t[1, start:stop] = counter.above(by_image, low, axis=1) - i2t[0, start:stop]
        above = counter.above(by_text, own_t2i + TIE, axis=0)
        t2i[0] += above
        t2i[1] += counter.above(by_text, own_t2i - TIE, axis=0) - above
    back = torch.empty_like(t2i)
    back[:, order] = t2i
    return (
        Ranks(*(row.numpy() for row in i2t)),
        Ranks(back[0].numpy(), back[1].numpy(), np.ones(total, dtype=np.int64)),
    )


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
        flags = torch.gt(scores, threshold, out=self.flags[: len(scores)]).numpy()
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
