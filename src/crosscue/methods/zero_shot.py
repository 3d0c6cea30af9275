"""The backbone as it is: the number every adapted result stands beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from crosscue.backbones.protocol import ImageInput
from crosscue.errors import MethodError
from crosscue.methods.capabilities import Untrained
from crosscue.methods.contract import Batch, ImageUse, Method


@dataclass(frozen=True)
class ZeroShotConfig:
    """Zero-shot retrieval has nothing to configure."""


class ZeroShot(Method[ZeroShotConfig], Untrained):
    """No template, no learned tensor: the caption as it is, the image as it is."""

    name = "zero_shot"
    summary = "The pre-trained backbone, unchanged: the reference for every other method."
    config_class = ZeroShotConfig
    image_use = ImageUse("pooled")

    def image_features(self, images: ImageInput) -> Tensor:
        """(B, 3, S, S) or a cached state -> (B, D)."""
        return self.backbone.encode_image(images).pooled

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """B texts -> (B, D)."""
        return self.backbone.encode_text(self.backbone.tokenize(texts)).pooled

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Raises `MethodError`: there is nothing to train."""
        raise MethodError("method 'zero_shot' has nothing to train. Evaluate it, or adapt with another method.")
