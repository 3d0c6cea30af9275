"""Scores of methods that read a picture beside sentences: which pictures, how many at once, with which sentences."""

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
class ConditionedPictures:
    """Scores candidates by `ReadsTogether.scores_given_texts`; see `reranking.Scorer`.

    text to image   every candidate picture is read with the query sentence
    image to text   pooled: the picture is read once, with the sentences of all its candidates together;
                    otherwise once with every candidate sentence
    """

    method: Method[Any]
    images: Images
    """Pixels, or cached states of the layers before the sentences come in, by number."""
    captions: Tensor
    """(M, D) text embeddings, unit vectors."""
    texts: Sequence[str]
    """The M sentences that pictures are read with."""
    pooled: bool
    at_once: int
    """Readings computed together; bounds the memory."""

    def __call__(self, image: Tensor, caption: Tensor, plain: Tensor, *, image_first: bool) -> Tensor:
        """See `Scorer`."""
        if image_first and self.pooled:
            given = [[self.texts[number] for number in row] for row in caption.tolist()]
            return self._read(image[:, 0], given, caption, plain)
        pairs = image.flatten() * len(self.texts) + caption.flatten()
        distinct, place = pairs.unique(return_inverse=True)  # sorted by picture: each is fetched once
        first = torch.empty_like(distinct).scatter_(0, place, torch.arange(len(pairs)))
        images, captions = distinct // len(self.texts), distinct % len(self.texts)
        given = [[self.texts[number]] for number in captions.tolist()]
        scores = self._read(images, given, captions[:, None], plain.flatten()[first][:, None])
        return scores[:, 0][place].view_as(plain)

    def _read(self, image: Tensor, given: Sequence[Sequence[str]], caption: Tensor, plain: Tensor) -> Tensor:
        """(P,) pictures with P lists of sentences, and (P, C) captions to compare with -> (P, C)."""
        parts, device, reader = [], self.method.backbone.device, self.method
        assert isinstance(reader, ReadsTogether)
        for start in range(0, len(image), self.at_once):
            rows = slice(start, start + self.at_once)
            numbers, place = image[rows].unique(return_inverse=True)
            distinct = self.images[numbers.tolist()].to(device)
            assert not isinstance(distinct, ImageFeatures)  # only of methods that leave the whole image tower alone
            pictures = distinct[place.to(device)]
            compared, before = self.captions[caption[rows]].to(device), plain[rows].to(device)
            parts.append(reader.scores_given_texts(pictures, given[rows], compared, before).float().cpu())
        return torch.cat(parts)

    def readings(self, pictures: int, captions: int, top: int) -> int:
        """Returns how many times a picture is read, in both directions together."""
        i2t = pictures * (1 if self.pooled else min(top, captions))
        return i2t + captions * min(top, pictures)

    def announce(self, pictures: int, top: int) -> None:
        """Says how long a long re-rank will take, from the time of a few readings."""
        sample = min(SAMPLE, pictures, self.at_once)
        image, one = torch.arange(sample)[:, None], torch.zeros(sample, 1, dtype=torch.int64)
        seconds = 0.0
        for _ in range(2):  # the first one also reads the sentence
            started = time.monotonic()
            with torch.no_grad():
                self(image, one, torch.zeros(sample, 1), image_first=False)
            seconds = time.monotonic() - started
        readings = self.readings(pictures, len(self.texts), top)
        expected = readings * seconds / sample
        if expected > LONG:
            note(
                f"re-ranking the first {top} candidates reads pictures {readings:,} times beside a sentence: about "
                f"{expected / 60:,.0f} min. Fewer: a smaller --top, or --pooled."
            )
