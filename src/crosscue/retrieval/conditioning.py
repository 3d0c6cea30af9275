"""Scores of methods that encode an image beside texts, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.backbones.protocol import ImageFeatures
from crosscue.methods.capabilities import ReadsTogether
from crosscue.progress import note

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.methods.contract import Method

LONG = 60.0
"""Seconds from which on a re-rank is announced with an estimate."""
SAMPLE = 32


@dataclass(frozen=True)
class ConditionedImages:
    """Scores candidates by `ReadsTogether.scores_given_texts`; see `reranking.Scorer`.

    text to image   every candidate image is encoded beside the query text
    image to text   pooled: the image is encoded once, beside all its candidate texts together;
                    otherwise once beside every candidate text
    """

    method: Method[Any]
    images: Images
    """Pixels, or cached states of the layers before the texts enter, by index."""
    captions: Tensor
    """(M, D) text embeddings, unit vectors."""
    texts: Sequence[str]
    """The M texts that images are encoded beside."""
    pooled: bool
    at_once: int
    """Readings computed together; bounds the memory."""

    def __call__(self, image: Tensor, caption: Tensor, plain: Tensor, *, image_first: bool) -> Tensor:
        """See `Scorer`."""
        if image_first and self.pooled:
            given = [[self.texts[number] for number in row] for row in caption.tolist()]
            return self._read(image[:, 0], given, caption, plain)
        pairs = image.flatten() * len(self.texts) + caption.flatten()
        distinct, place = pairs.unique(return_inverse=True)  # sorted by image: each is fetched once
        first = torch.empty_like(distinct).scatter_(0, place, torch.arange(len(pairs)))
        images, captions = distinct // len(self.texts), distinct % len(self.texts)
        given = [[self.texts[number]] for number in captions.tolist()]
        scores = self._read(images, given, captions[:, None], plain.flatten()[first][:, None])
        return scores[:, 0][place].view_as(plain)

    def _read(self, image: Tensor, given: Sequence[Sequence[str]], caption: Tensor, plain: Tensor) -> Tensor:
        """(P,) images with P lists of texts, and (P, C) captions to compare with -> (P, C)."""
        parts, device, reader = [], self.method.backbone.device, self.method
        assert isinstance(reader, ReadsTogether)
        for start in range(0, len(image), self.at_once):
            rows = slice(start, start + self.at_once)
            numbers, place = image[rows].unique(return_inverse=True)
            distinct = self.images[numbers.tolist()].to(device)
            assert not isinstance(distinct, ImageFeatures)  # only of methods that leave the whole image tower alone
            chosen = distinct[place.to(device)]
            compared, before = self.captions[caption[rows]].to(device), plain[rows].to(device)
            parts.append(reader.scores_given_texts(chosen, given[rows], compared, before).float().cpu())
        return torch.cat(parts)

    def readings(self, image_count: int, caption_count: int, top: int) -> int:
        """Returns the number of times that an image is encoded, in both directions together."""
        i2t = image_count * (1 if self.pooled else min(top, caption_count))
        return i2t + caption_count * min(top, image_count)

    def announce(self, image_count: int, top: int) -> None:
        """Prints the time that a long re-rank will take, estimated from a few readings."""
        sample = min(SAMPLE, image_count, self.at_once)
        image, one = torch.arange(sample)[:, None], torch.zeros(sample, 1, dtype=torch.int64)
        seconds = 0.0
        for _ in range(2):  # the first one also reads the text
            started = time.monotonic()
            with torch.no_grad():
                self(image, one, torch.zeros(sample, 1), image_first=False)
            seconds = time.monotonic() - started
        readings = self.readings(image_count, len(self.texts), top)
        expected = readings * seconds / sample
        if expected > LONG:
            note(
                f"re-ranking the first {top} candidates encodes images {readings:,} times beside a text: about "
                f"{expected / 60:,.0f} min. Fewer: a smaller --top, or --pooled."
            )
