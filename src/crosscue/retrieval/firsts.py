"""The first candidate of every query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crosscue.retrieval.readers import read_scores

if TYPE_CHECKING:
    from crosscue.retrieval.scores import Scores


class Firsts:
    """Reads the first candidate of every query of both directions; of equal ones the one that comes first."""

    images: Tensor
    """(M,) the first image of each caption, by index."""
    captions: Tensor
    """(N,) the first caption of each image, by index."""

    def start(self, scores: Scores) -> None:
        """See `Reader.start`."""
        counts = scores.image_count, scores.caption_count
        self.captions, self.images = (torch.zeros(count, dtype=torch.int64) for count in counts)
        self._of_images, self._of_captions = (torch.full((count,), -torch.inf) for count in counts)

    def read(self, i2t: Tensor, t2i: Tensor, images: slice, captions: slice) -> None:
        """See `Reader.read`."""
        _update(self._of_images[images], self.captions[images], i2t, captions.start)
        _update(self._of_captions[captions], self.images[captions], t2i.T, images.start)


def firsts(scores: Scores) -> tuple[Tensor, Tensor]:
    """Returns (N,) the first caption of each image and (M,) the first image of each caption, by index."""
    reader = Firsts()
    read_scores(scores, [reader])
    return reader.captions, reader.images


def _update(best: Tensor, place: Tensor, scores: Tensor, first: int) -> None:
    """Writes better candidates to best (q,) and their places (q,); scores (q, c) are of the candidates from `first` on."""
    highest = scores.amax(1)
    ahead = (highest > best).nonzero()[:, 0]  # few, once the first tiles are read
    best[ahead] = highest[ahead]
    place[ahead] = torch.from_numpy(scores[ahead].numpy().argmax(1)) + first
