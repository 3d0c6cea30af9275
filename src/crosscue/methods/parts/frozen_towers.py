"""Base of methods that learn behind both towers: each image and each text is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.methods.capabilities import UsesKnowledge
from crosscue.methods.contract import ImageUse
from crosscue.methods.parts.contrastive import ContrastiveConfig, ContrastiveMethod
from crosscue.methods.parts.frozen_texts import FrozenTexts

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs

HeadOptions = TypeVar("HeadOptions", bound=ContrastiveConfig)


class FrozenTowersMethod(ContrastiveMethod[HeadOptions], UsesKnowledge):
    """A method that changes the two towers' features f and g, never the towers."""

    image_use = ImageUse("pooled")

    def __init__(self, backbone: Backbone, config: HeadOptions) -> None:
        super().__init__(backbone, config)
        self.texts = FrozenTexts(backbone)

    def plain_images(self, images: ImageInput) -> Tensor:
        """f: images -> (B, D), not normalised."""
        return self.backbone.encode_image(images).pooled

    def plain_texts(self, texts: Sequence[str]) -> Tensor:
        """g: B texts -> (B, D), not normalised."""
        return self.texts(texts)

    def study(self, train: Pairs, captions: Sequence[str]) -> dict[str, Any]:
        """See `UsesKnowledge.study`."""
        self.remember(captions)
        return {}

    def forget(self) -> None:
        """Drops the features."""
        self.remember([])

    def remember(self, texts: Sequence[str]) -> None:
        """Encodes these captions, once, and no others."""
        self.texts.memory.fill(texts)
