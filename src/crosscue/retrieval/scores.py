"""The scores of a gallery, a block at a time: what ranking needs to know, however a method compares."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from crosscue.errors import CrosscueError


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

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """Scores pairs given by number: (P,) and (P,) -> (P,) and (P,)."""
        ...

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """Scores b consecutive images with m consecutive captions: (b, m) and (b, m).

        The caller may write into both before its next call; they may be one tensor.
        """
        ...

    def chosen(self, captions: Tensor) -> Scores:
        """Returns the scores of the captions with these numbers, in this order; one may come more than once."""
        ...


class Cosines:
    """Scores of (N, D) and (M, D) unit vectors; both directions are the same.

    Raises:
        CrosscueError: an embedding is not finite.
    """

    kind = "cosine"

    def __init__(self, images: Tensor, texts: Tensor) -> None:
        require_finite("image", images)
        require_finite("caption", texts)
        self.images, self.texts = images.float(), texts.float()
        self.image_count, self.caption_count = len(images), len(texts)
        self._buffer = torch.empty(0)

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.own`."""
        scores = (self.images[image] * self.texts[caption]).sum(1)
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

    def chosen(self, captions: Tensor) -> Cosines:
        """See `Scores.chosen`."""
        return Cosines(self.images, self.texts[captions])


def require_finite(what: str, vectors: Tensor) -> None:
    """Raises `CrosscueError` where a row of (N, D) is not finite, naming the first."""
    bad = (~torch.isfinite(vectors).all(1)).nonzero()
    if len(bad):
        raise CrosscueError(
            f"the embedding of {what} {int(bad[0])} is not finite ({len(bad)} such). The learned tensors are damaged, or bf16 "
            "overflowed: adapt again with a lower training.lr, or evaluate with --precision fp32."
        )
