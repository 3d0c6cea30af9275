"""How many candidates beat the right one: exact, with ties, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosscue.errors import CrosscueError

TIE = 1e-6
"""Scores closer than this count as tied: it is above the rounding of a float32 dot product of unit vectors, so that equal
embeddings are always tied, and far below any difference that means something."""

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
    """Ranks both directions in one pass over the similarity matrix, `block` rows at a time.

    Args:
        images: (N, D) unit vectors.
        texts: (M, D) unit vectors.
        owner: (M,) the image each caption belongs to; every image has at least one caption. A caption that stands for
            several images is given once for each.
        block: images per block; memory is `block` x M scores.

    Returns:
        image to text (any of the image's captions counts) and text to image.

    Raises:
        CrosscueError: an embedding is not finite, or an image has no caption.
    """
    _check(images, texts, owner)
    images, texts = images.float(), texts.float()
    count, total = len(images), len(texts)
    order = torch.argsort(owner, stable=True)  # captions grouped by image: the positives of a block are one slice
    texts, owner = texts[order], owner[order]
    first = torch.searchsorted(owner, torch.arange(count + 1))
    own = (images[owner] * texts).sum(1)  # (M,) score of each caption with its own image
    best = torch.full((count,), -torch.inf).scatter_reduce(0, owner, own, "amax")  # (N,)
    i2t = torch.zeros(3, count, dtype=torch.int64)  # better, tied, tied positives
    t2i = torch.zeros(2, total, dtype=torch.int64)  # better, tied
    i2t[2] = torch.zeros(count, dtype=torch.int64).scatter_add(0, owner, (own > best[owner] - TIE).long())
    counter = Counter(min(block, count), total)
    for start in range(0, count, block):
        stop = min(start + block, count)
        scores = counter.scores[: stop - start]  # (b, M)
        torch.mm(images[start:stop], texts.T, out=scores)
        rows, columns = owner[first[start] : first[stop]] - start, torch.arange(int(first[start]), int(first[stop]))
        scores[rows, columns] = own[columns]  # a positive is compared with itself exactly
        high, low = best[start:stop, None] + TIE, best[start:stop, None] - TIE
        i2t[0, start:stop] = counter.above(scores, high, axis=1)
        i2t[1, start:stop] = counter.above(scores, low, axis=1) - i2t[0, start:stop]
        above = counter.above(scores, own + TIE, axis=0)
        t2i[0] += above
        t2i[1] += counter.above(scores, own - TIE, axis=0) - above
    back = torch.empty_like(t2i)
    back[:, order] = t2i
    return (
        Ranks(*(row.numpy() for row in i2t)),
        Ranks(back[0].numpy(), back[1].numpy(), np.ones(total, dtype=np.int64)),
    )


class Counter:
    """Counts comparisons of a block of scores in buffers that are made once: fresh memory would cost more than counting."""

    def __init__(self, rows: int, columns: int) -> None:
        self.scores = torch.empty(rows, columns)
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


def _check(images: Tensor, texts: Tensor, owner: Tensor) -> None:
    for what, vectors in (("picture", images), ("caption", texts)):
        bad = (~torch.isfinite(vectors).all(1)).nonzero()
        if len(bad):
            raise CrosscueError(
                f"the embedding of {what} {int(bad[0])} is not finite ({len(bad)} such). The learned tensors are damaged, or bf16 "
                "overflowed: adapt again with a lower training.lr, or evaluate with --precision fp32."
            )
    without = len(images) - len(torch.unique(owner))
    if without:
        raise CrosscueError(
            f"{without} pictures of the gallery have no caption, so they cannot be evaluated. Remove them."
        )
