"""A method with one trainable offset in each modality."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.methods.parts.contrastive import ContrastiveConfig, ContrastiveMethod


class Offsets(ContrastiveMethod[ContrastiveConfig]):
    """The backbone with a trainable vector added to the features of each tower."""

    name = "offsets"
    summary = "One trainable offset in each modality."
    config_class = ContrastiveConfig

    def __init__(self, backbone: Backbone, config: ContrastiveConfig) -> None:
        super().__init__(backbone, config)
        self.image = nn.Parameter(torch.zeros(backbone.embed_dim))  # (D,)
        self.text = nn.Parameter(torch.zeros(backbone.embed_dim))  # (D,)
        self.to(backbone.device)

    def image_features(self, images: ImageInput) -> Tensor:
        return self.backbone.encode_image(images).pooled + self.image  # (B, D)

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        return self.backbone.encode_text(self.backbone.tokenize(texts)).pooled + self.text  # (B, D)
