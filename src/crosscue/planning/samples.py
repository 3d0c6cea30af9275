"""A few pairs of a source, read and encoded as a command does it, with the seconds of each image and text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.backbones import frozen
from crosscue.backbones.protocol import ImageFeatures, ImageInput, ImageState
from crosscue.data.features import feature_rows
from crosscue.methods.capabilities import LateInteraction
from crosscue.methods.contract import Batch
from crosscue.planning.steps import synchronised
from crosscue.retrieval.encoding import embed_captions
from crosscue.retrieval.late_scores import late_scores
from crosscue.retrieval.options import Inference

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method

DECODED = 8
"""Images that are decoded to measure the rate."""
ENCODED = 16
"""Images and captions that are encoded to measure the rate."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one image or one text."""

    decode: float = 0.0
    """From the file to pixels, with all threads; 0 where the source has features."""
    prefix: float = 0.0
    """Through the layers that a method leaves frozen, once."""
    tower: float = 0.0
    """Through the untouched image tower."""
    image: float = 0.0
    """Through the method, behind its frozen layers."""
    text: float = 0.0
    untouched_text: float = 0.0
    late: float = 0.0
    """Score of one image with one text, where tokens are compared."""


class Sample:
    """The images of a few pairs: pixels in memory, or features of a bank. Nothing enters the cache."""

    def __init__(self, pairs: Pairs, method: Method[Any], *, augmented: bool = False) -> None:
        """Reads the pairs.

        Raises:
            DataError: an image cannot be decoded.
        """
        self.pairs, self.method, self.augmented = pairs, method, augmented
        backbone = method.backbone
        store = frozen.pixel_store(pairs.images, backbone, cache=False, source=pairs.origin)
        self.bank = bool(feature_rows(pairs.images, pairs.origin))
        count = min(DECODED, len(pairs))
        self.decode = 0.0 if self.bank else timed(lambda: store[range(count)], backbone) / count
        source = frozen.cached_images(store, backbone, "pooled") if self.bank else store
        self.images: ImageInput = source[range(len(pairs))].to(backbone.device)

    @torch.no_grad()
    def input(self, rows: int) -> ImageInput:
        """Returns the input of the method for the first `rows` pairs: behind the layers that stay frozen."""
        images = some(self.images, rows)
        if self.bank or self.augmented:
            return images
        return behind(self.method, images)

    @torch.no_grad()
    def untouched(self, rows: int) -> ImageFeatures | None:
        """Returns the features of the untouched tower, where training steps need them."""
        if self.augmented or not self.method.image_use.untouched:
            return None
        return self.method.backbone.encode_image(some(self.images, rows))

    def batch(self, rows: int, captions: Sequence[int]) -> Batch:
        """Returns a batch of the first `rows` pairs, with one caption each by number."""
        members = [self.pairs[index] for index in range(rows)]
        return Batch(
            images=self.input(rows),
            captions=[pair.captions[number] for pair, number in zip(members, captions, strict=False)],
            image_ids=[pair.image_id for pair in members],
            categories=[pair.category for pair in members],
            negatives=[pair.negatives for pair in members],
            synthetic=[pair.synthetic for pair in members],
            untouched=self.untouched(rows),
        )

    @torch.no_grad()
    def costs(self, untouched: Method[Any]) -> Costs:
        """Returns the seconds of one image and one text; `untouched` is the method zero_shot."""
        method, rows = self.method, min(ENCODED, len(self.pairs))
        backbone, images = method.backbone, some(self.images, rows)
        texts = self.pairs.captions[:rows]
        found = Costs(decode=self.decode)
        layers = 0 if self.bank or self.augmented else method.image_use.layers(backbone)
        if layers:
            found = replace(found, prefix=timed(lambda: behind(method, images), backbone) / rows)
        given = self.input(rows)
        if not self.bank:
            found = replace(found, tower=timed(lambda: backbone.encode_image(images), backbone) / rows)
        untouched_text = timed(lambda: embed_captions(untouched, texts, Inference()), backbone) / len(texts)
        found = replace(found, untouched_text=untouched_text)
        if isinstance(method, LateInteraction):
            scores = late_scores(method, Held(given), rows, texts, backbone.device, rows)
            late = timed(lambda: scores.block(slice(0, rows), slice(0, len(texts))), backbone)
            image = timed(lambda: method.image_tokens(given), backbone) / rows
            text = timed(lambda: method.text_tokens(texts), backbone) / len(texts)
            return replace(found, image=image, text=text, late=late / (rows * len(texts)))
        image = timed(lambda: method.encode_image(given), backbone) / rows
        text = timed(lambda: embed_captions(method, texts, Inference()), backbone) / len(texts)
        return replace(found, image=image, text=text)


@dataclass(frozen=True)
class Held:
    """Images that are in memory, by index."""

    images: ImageInput

    def __getitem__(self, indices: Sequence[int], /) -> ImageInput:
        """B indices -> the images."""
        return some(self.images, len(indices))


def through_frozen_layers(images: int) -> int:
    """Returns the number of images that the frozen layers compute for the cache: whole blocks, and one that tells the shape."""
    return 1 + frozen.BLOCK * math.ceil(images / frozen.BLOCK) if images else 0


def some(images: ImageInput, rows: int) -> ImageInput:
    """Returns the first `rows` images."""
    if isinstance(images, ImageState):
        return images[torch.arange(rows)]
    if isinstance(images, Tensor):
        return images[:rows]
    return ImageFeatures(images.pooled[:rows], images.hidden[:rows], images.patch_features)


def behind(method: Method[Any], pixels: ImageInput) -> ImageInput:
    """Returns images behind the layers that a method leaves frozen."""
    layers = method.image_use.frozen_layers
    if layers == "pooled":
        features = method.backbone.encode_image(pixels)
        return ImageFeatures(features.pooled, features.hidden, features.patch_features)
    assert isinstance(pixels, Tensor)
    return method.backbone.image_state(pixels, layers) if layers else pixels


def timed(work: Callable[[], object], backbone: Backbone) -> float:
    """Returns the seconds of the second of two calls; the first one warms up."""
    work()
    start = time.perf_counter()
    work()
    synchronised(backbone.device)
    return time.perf_counter() - start
