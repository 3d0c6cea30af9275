"""The scores of a gallery, a block at a time: what ranking needs to know, however a method compares."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from crosscue.errors import CrosscueError

ROWS = 4_096
"""Vectors that are read at once where each is read by itself."""
MOST_HELD, HELD_ROWS = 12_000_000, 256
"""Most scores that are held, 96 MB for both directions; images whose scores are computed at once."""


class Scores(Protocol):
    """N images against M captions. The directions may score differently, so everything comes in twos: i2t, t2i."""

    @property
    def kind(self) -> str:
        """Name of the score in the protocol."""
        ...

    @property
    def image_count(self) -> int:
        """N."""
        ...

    @property
    def caption_count(self) -> int:
        """M."""
        ...

    @property
    def narrow(self) -> bool:
        """True if blocks of few captions cost no more than those of all."""
        ...

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """Scores pairs given by number: (P,) and (P,) -> (P,) and (P,)."""
        ...

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """Scores b consecutive images with m consecutive captions: (b, m) and (b, m).

        The caller may write into both before its next call; they may be one tensor.
        """
        ...


class Cosines:
    """Scores of (N, D) and (M, D) unit vectors; both directions are the same.

    Raises:
        CrosscueError: an embedding is not finite.
    """

    kind = "cosine"
    narrow = True

    def __init__(self, images: Tensor, texts: Tensor) -> None:
        require_finite("image", images)
        require_finite("caption", texts)
        self.images, self.texts = images.float(), texts.float()
        self.image_count, self.caption_count = len(images), len(texts)
        self._buffer = torch.empty(0)

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.own`."""
        pairs = zip(image.split(ROWS), caption.split(ROWS), strict=True)
        scores = torch.cat([(self.images[some] * self.texts[own]).sum(1) for some, own in pairs])
        return scores, scores

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """See `Scores.block`."""
        left, right = self.images[images], self.texts[captions]
        count = len(left) * len(right)
        if len(self._buffer) < count:
            self._buffer = torch.empty(count)  # made once: fresh memory would cost more than the product
        scores = self._buffer[:count].view(len(left), len(right))
        torch.mm(left, right.T, out=scores)
        return scores, scores


class Held:
    """Scores whose blocks were computed once and are read from memory; see `Scores`."""

    narrow = True

    def __init__(self, scores: Scores) -> None:
        """Computes all blocks, `HELD_ROWS` images at a time."""
        self.own, self.kind = scores.own, scores.kind
        self.image_count, self.caption_count = scores.image_count, scores.caption_count
        self.both = torch.empty(2, scores.image_count, scores.caption_count)
        for start in range(0, scores.image_count, HELD_ROWS):
            rows = slice(start, min(start + HELD_ROWS, scores.image_count))
            for place, block in enumerate(scores.block(rows, slice(0, scores.caption_count))):
                self.both[place, rows] = block

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """See `Scores.block`."""
        return self.both[0, images, captions].clone(), self.both[1, images, captions].clone()


def held(scores: Scores) -> Scores:
    """Returns the same scores, in memory where there are at most `MOST_HELD`."""
    return Held(scores) if scores.image_count * scores.caption_count <= MOST_HELD else scores


def require_finite(what: str, vectors: Tensor) -> None:
    """Raises `CrosscueError` where a row of (N, D) is not finite, naming the first."""
    bad = (~torch.cat([torch.isfinite(rows).all(1) for rows in vectors.split(ROWS)])).nonzero()
    if len(bad):
        raise CrosscueError(
            f"the embedding of {what} {int(bad[0])} is not finite ({len(bad)} such). The learned tensors are damaged, or bf16 "
            "overflowed: adapt again with a lower training.lr, or evaluate with --precision fp32."
        )
