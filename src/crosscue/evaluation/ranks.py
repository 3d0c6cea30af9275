"""Ranks: the number of candidates that beat the right one, exact, with ties, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosscue.errors import CrosscueError
from crosscue.retrieval.readers import BLOCK, read_scores
from crosscue.retrieval.reranking import Reranked
from crosscue.retrieval.scores import Cosines, Scores

TIE = 1e-6
"""Scores closer than this count as tied. It is above the rounding of a float32 dot product of unit vectors, so that equal
embeddings are always tied. It is far below any difference that means something."""


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
    return rank_links(scores, owner, torch.arange(len(owner)), block=block)


def rank_links(scores: Scores, image: Tensor, caption: Tensor, *, block: int = BLOCK) -> tuple[Ranks, Ranks]:
    """Ranks both directions in one pass over the scores; see `Ranking`.

    Raises:
        CrosscueError: an image has no caption.
    """
    ranking = Ranking(image, caption)
    read_scores(scores, [ranking], block=block)
    return ranking.ranks()


class RightPairs:
    """Right pairs with their exact scores, which differ from those of a product by rounding."""

    def __init__(self, scores: Scores, image: Tensor, caption: Tensor) -> None:
        """Takes L pairs by number: (L,) and (L,)."""
        order = torch.argsort(image, stable=True)  # by image: the right pairs of a block are one slice
        self.image, self.caption = image[order], caption[order]
        self.i2t, self.t2i = scores.own(self.image, self.caption)  # (L,), (L,)

    def write(self, i2t: Tensor, t2i: Tensor, images: slice, captions: slice) -> None:
        """Writes the exact scores into a tile (b, m) of both directions."""
        first, last = torch.searchsorted(self.image, torch.tensor([images.start, images.stop])).tolist()
        caption = self.caption[first:last]
        inside = ((caption >= captions.start) & (caption < captions.stop)).nonzero()[:, 0]
        places = self.image[first + inside] - images.start, caption[inside] - captions.start
        i2t[places], t2i[places] = self.i2t[first + inside], self.t2i[first + inside]


class Ranking:
    """Reads the ranks of both directions; see `Reader`."""

    def __init__(self, image: Tensor, caption: Tensor) -> None:
        """Takes the right pairs by number.

        Args:
            image: (L,) their images; every image has at least one pair.
            caption: (L,) their captions; every caption has at least one image, and may have several.
        """
        self.image, self.caption = image, caption

    def start(self, scores: Scores) -> None:
        """See `Reader.start`.

        Raises:
            CrosscueError: an image has no caption.
        """
        _require_captions(scores.image_count, self.image)
        self.right = RightPairs(scores, self.image, self.caption)
        self.i2t = Places(self.right.i2t, self.right.image, scores.image_count)
        self.t2i = Places(self.right.t2i, self.right.caption, scores.caption_count)
        self.counter = Counter()

    def read(self, i2t: Tensor, t2i: Tensor, images: slice, captions: slice) -> None:
        """See `Reader.read`."""
        self.right.write(i2t, t2i, images, captions)
        self.i2t.count(self.counter, i2t, images, axis=1)
        self.t2i.count(self.counter, t2i, captions, axis=0)

    def ranks(self) -> tuple[Ranks, Ranks]:
        """Returns the ranks of image to text and of text to image."""
        return self.i2t.ranks(), self.t2i.ranks()


class Places:
    """Places of the best positive of Q queries, counted tile by tile."""

    def __init__(self, own: Tensor, query: Tensor, count: int) -> None:
        """Takes the scores (L,) of the right pairs and their queries (L,)."""
        best = torch.full((count,), -torch.inf).scatter_reduce(0, query, own, "amax")  # (Q,)
        self.high, self.low = best + TIE, best - TIE
        self.positives = torch.zeros(count, dtype=torch.int64).scatter_add(0, query, (own > self.low[query]).long())
        self.above = torch.zeros(2, count, dtype=torch.int64)  # above the tie, above its lower end

    def count(
        self, counter: Counter, scores: Tensor, queries: slice, *, axis: int, without: Tensor | None = None
    ) -> None:
        """Counts a tile (b, m): the queries are its rows with axis 1, and its columns with axis 0.

        Columns `without` are no candidates of the rows.
        """
        for row, threshold in enumerate((self.high[queries], self.low[queries])):
            flags = counter.above(scores, threshold[:, None] if axis else threshold)
            if without is not None:
                flags[:, without] = False
            self.above[row, queries] += count_true(flags, axis)

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
    """Compares blocks of scores in a buffer that is made once: fresh memory would cost more than comparing."""

    def __init__(self) -> None:
        self.flags = torch.empty(0, dtype=torch.bool)

    def above(self, scores: Tensor, threshold: Tensor) -> Tensor:
        """(b, m) scores -> (b, m) true above the threshold, which is (b, 1) or (m,); the next call overwrites it."""
        if len(self.flags) < scores.numel():
            self.flags = torch.empty(scores.numel(), dtype=torch.bool)
        return torch.gt(scores, threshold, out=self.flags[: scores.numel()].view(scores.shape))


def count_true(flags: Tensor, axis: int) -> Tensor:
    """(b, m) -> how many are true in each row (b,) with axis 1, in each column (m,) with axis 0."""
    if axis == 1:
        return torch.from_numpy(np.bitwise_count(np.packbits(flags.numpy(), axis=1)).sum(1, dtype=np.int64))
    bytes_ = flags.numpy().view(np.uint8)
    parts = [bytes_[start : start + 255].sum(0, dtype=np.uint8) for start in range(0, len(bytes_), 255)]  # no overflow
    return torch.from_numpy(np.sum(parts, axis=0, dtype=np.int64))


def _require_captions(count: int, owner: Tensor) -> None:
    without = count - len(torch.unique(owner))
    if without:
        raise CrosscueError(
            f"{without} images of the gallery have no caption, so they cannot be evaluated. Remove them."
        )
