"""Agreement of an export with the run it was made from, on held-out pairs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from crosscue.backbones.embedding import embed_texts
from crosscue.data.features import FeatureRow
from crosscue.data.stream import require_readable
from crosscue.errors import DataError, MethodError
from crosscue.evaluation.ranks import ranks
from crosscue.evaluation.recall import hits
from crosscue.intervals import Difference, difference
from crosscue.methods.capabilities import text_modes
from crosscue.retrieval.streaming import encoded_images

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.encoding.encoder import Encoder
    from crosscue.methods.contract import Method

SAMPLE = 64
"""Images, and texts, that are compared."""
BOUNDS = {"fp32": 0.99999, "w8": 0.995}
"""Least cosine of a vector with torch's."""
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}


@dataclass(frozen=True)
class Sample:
    """Pairs of an image with its first caption, and their vectors by torch."""

    pairs: Pairs
    texts: list[str]
    image_vectors: Tensor
    """(B, D)"""
    text_vectors: Tensor
    """(B, D)"""


@dataclass(frozen=True)
class Parity:
    """Agreement of one precision."""

    pairs: int
    image: float
    """Least cosine of an image's two vectors."""
    text: float
    """Least cosine of a text's two vectors."""
    r1: dict[str, Difference]
    """Direction -> change of R@1 in points, with its interval."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        return asdict(self)

    def lines(self, precision: str) -> list[str]:
        """Returns the lines that a user reads."""
        changes = [
            f"{words} {self.r1[key].mean:+.1f} ({self.r1[key].low:+.1f} to {self.r1[key].high:+.1f})"
            for key, words in DIRECTIONS.items()
        ]
        return [
            f"{precision}: least cosine with torch {self.image:.6f} of {self.pairs} images, {self.text:.6f} of {self.pairs} texts",
            f"{precision}: change of R@1 in points: {', '.join(changes)}",
        ]


def sample(method: Method[Any], pairs: Pairs) -> Sample:
    """Returns at most `SAMPLE` evenly spaced pairs with the vectors that torch gives them.

    Raises:
        DataError: there are no pairs with captions, or an image cannot be read.
    """
    captioned = [index for index, pair in enumerate(pairs) if pair.captions]
    if not captioned:
        raise DataError(f"{pairs.source}: no pair has a caption, so the export cannot be compared. Add --data SOURCE.")
    places = np.linspace(0, len(captioned) - 1, min(SAMPLE, len(captioned))).round().astype(int)
    some = pairs.part(pairs[captioned[place]] for place in places)
    texts = [pair.captions[0] for pair in some]
    images = [pair.image for pair in some if not isinstance(pair.image, FeatureRow)]
    if len(images) < len(some):
        raise DataError(
            f"{pairs.source}: these pairs have features instead of images, and an export is compared on images. "
            "Name pairs with images: crosscue export onnx RUN --data SOURCE"
        )
    batches = list(encoded_images(method, images))
    require_readable(batches)
    vectors = torch.cat([batch.vectors for batch in batches])
    return Sample(
        some, texts, vectors, embed_texts(texts, lambda some: method.encode_text(some, text_modes(method)[0]))
    )


def measured(chosen: Sample, encoder: Encoder) -> Parity:
    """Returns the agreement of an encoder with the vectors of a sample."""
    pixels = np.stack([encoder.pixels.read(pair.image) for pair in chosen.pairs])
    images = torch.from_numpy(encoder.encode_images(pixels))
    texts = torch.from_numpy(encoder.encode_texts(chosen.texts).vectors)
    owner = torch.arange(len(chosen.texts))
    before, after = ranks(chosen.image_vectors, chosen.text_vectors, owner), ranks(images, texts, owner)
    r1 = {
        key: difference(hits(old, 1), hits(new, 1), owner.numpy())
        for key, old, new in zip(DIRECTIONS, before, after, strict=True)
    }
    return Parity(len(owner), least_cosine(images, chosen.image_vectors), least_cosine(texts, chosen.text_vectors), r1)


def least_cosine(found: Tensor, wanted: Tensor) -> float:
    """(B, D) and (B, D) unit vectors -> the least cosine of two rows."""
    return float((found.double() * wanted.double()).sum(-1).min())


def require(parity: Parity, precision: str) -> None:
    """Raises `MethodError` where a cosine is below the bound of the precision."""
    bound = BOUNDS[precision]
    worst = min(parity.image, parity.text)
    if not worst >= bound:
        remedy = " Export with --precision fp32." if precision == "w8" else " Report this."
        raise MethodError(
            f"the {precision} graphs do not agree with torch: least cosine {parity.image:.6f} of images and {parity.text:.6f} of "
            f"texts, and {bound} is required. Nothing was written.{remedy}"
        )
