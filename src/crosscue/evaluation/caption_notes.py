"""Notes on the captions of examples: words by their weight for an image, and triplets (figure 5 of DCAR and ACT)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from crosscue.methods.capabilities import KnowsTriplets, WeighsWords
from crosscue.methods.images import cached_images
from crosscue.retrieval.encoding import pair_features

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method


@dataclass(frozen=True)
class CaptionNote:
    """One caption beside one image."""

    words: tuple[tuple[str, float], ...] = ()
    """Words with their weights, which average about 1; empty for methods without weights."""
    triplets: tuple[str, ...] = ()
    """Triplets and their states; empty for methods without knowledge of captions."""


Notes = Callable[[Sequence[tuple[int, int]]], list[CaptionNote]]
"""Index of a caption and of an image, many -> the note of each."""


def caption_notes(method: Method[Any], pairs: Pairs) -> Notes | None:
    """Returns the notes of a method on its captions; None for a method that has none."""
    captions = pairs.captions

    def notes(wanted: Sequence[tuple[int, int]]) -> list[CaptionNote]:
        texts = [captions[caption] for caption, _ in wanted]
        words, triplets = [[] for _ in texts], [() for _ in texts]  # type: list[Any], list[Any]
        if isinstance(method, WeighsWords) and method.weighs_words:
            shown = sorted({image for _, image in wanted})
            images = cached_images(pairs.part(pairs[image] for image in shown), method)
            features = pair_features(method, images, len(shown), 32)  # (n, E)
            rows = torch.tensor([shown.index(image) for _, image in wanted])
            words = method.word_weights(texts, features[rows].to(method.backbone.device))
        if isinstance(method, KnowsTriplets):
            triplets = method.triplets(texts)
        return [CaptionNote(tuple(map(tuple, own)), known) for own, known in zip(words, triplets, strict=True)]

    known = isinstance(method, KnowsTriplets) or (isinstance(method, WeighsWords) and method.weighs_words)
    return notes if known else None
