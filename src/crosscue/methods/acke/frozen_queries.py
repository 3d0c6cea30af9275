"""Queries of a prompt pool: features of images and texts from the untouched towers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscue.backbones.embedding import encode_bucketed
from crosscue.backbones.protocol import Backbone, ImageFeatures, ImageInput
from crosscue.methods.parts.frozen_texts import FrozenTexts


class FrozenQueries:
    """Features of a backbone without prompts; nothing is normalised and nothing has a gradient.

    In training none is computed twice: those of images come with the batch, and those of texts are computed before, as a
    set. Inference computes them anew. A result then does not depend on earlier calls, not even in its last bit.
    """

    def __init__(self, backbone: Backbone, *, hidden: bool = False) -> None:
        """With `hidden` an image's feature before the projection (B, W), as in the released ACKE; else (B, D)."""
        self.backbone, self.hidden = backbone, hidden
        self.width = backbone.image_width if hidden else backbone.embed_dim
        self.texts = FrozenTexts(backbone)

    def of_features(self, features: ImageFeatures) -> Tensor:
        """Features of the untouched tower -> (B, C)."""
        return features.hidden if self.hidden else features.pooled

    @torch.no_grad()
    def of_images(self, images: ImageInput) -> Tensor:
        """Images or their cached state -> (B, C)."""
        return self.of_features(self.backbone.encode_image(images))

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str], *, remembered: bool = False) -> Tensor:
        """B texts -> (B, D); with `remembered`, those of `remember` are not computed again."""
        return encode_bucketed(texts, self.texts) if remembered else self.texts.read(texts)

    def remember(self, texts: Sequence[str]) -> None:
        """Encodes these texts, once, and forgets all others."""
        self.texts.memory.fill(texts)
