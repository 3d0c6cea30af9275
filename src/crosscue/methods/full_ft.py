"""Full fine-tuning with weight-space ensembling (WiSE-FT, arXiv 2109.01903).

    trained with   theta_0 + delta             (delta = 0 before training)
    tested with    theta_0 + alpha * delta     (= (1 - alpha) theta_0 + alpha theta_1, WiSE-FT eq. 1)

theta_0 are the backbone's own tensors, which are never written to; delta is a tensor for each of them. Weight decay pulls delta to
zero, that is to the pre-trained weights. With a start layer, a tower changes from that layer on: the parts behind its layers do too,
its embeddings do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.errors import MethodError
from crosscue.methods.contract import Batch, ImageUse
from crosscue.methods.parts.contrastive import ContrastiveConfig, ContrastiveMethod
from crosscue.methods.parts.layers import check_start_layers, layer_of


@dataclass(frozen=True)
class FullFtConfig(ContrastiveConfig):
    """Options of full fine-tuning."""

    alpha: float = 1.0
    """Share of the learned change in evaluation: 1 is plain fine-tuning, 0 the backbone. WiSE-FT recommends 0.5 for
    data unlike the training data (alpha)."""
    text_start_layer: int = 0
    """First text layer that is changed. 0 changes the word embeddings too."""
    image_start_layer: int = 0
    """First image layer that is changed. The layers before it stay frozen: their output is computed once and
    cached."""


class Change(nn.Module):
    """theta_0 -> theta_0 + delta, or theta_0 + alpha * delta in evaluation mode, in the dtype of theta_0."""

    def __init__(self, pretrained: Tensor, alpha: float) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros_like(pretrained, dtype=torch.float32))
        self.alpha = alpha

    def forward(self, pretrained: Tensor) -> Tensor:
        """(...) -> (...)."""
        share = 1.0 if self.training else self.alpha
        return (pretrained.float() + share * self.delta).to(pretrained.dtype)


class FullFt(ContrastiveMethod[FullFtConfig]):
    """Every weight of both towers from a layer on, trained with InfoNCE; the temperature stays."""

    name = "full_ft"
    summary = "Every weight of both towers, blended with the pre-trained ones. As large as the backbone; needs many pairs and a GPU."
    paper = "arXiv 2109.01903"
    config_class = FullFtConfig

    def __init__(self, backbone: Backbone, config: FullFtConfig) -> None:
        super().__init__(backbone, config)
        if not 0 <= config.alpha <= 1:
            raise MethodError(
                f"alpha is {config.alpha}; it is a share, from 0 (the backbone) to 1 (plain fine-tuning)."
            )
        check_start_layers(backbone, config.text_start_layer, config.image_start_layer)
        self.image_use = ImageUse(config.image_start_layer)
        self.tuned = backbone.shared_copy()
        starts = {"text": config.text_start_layer, "image": config.image_start_layer}
        for path, module in list(self.tuned.named_modules()):
            start = starts.get(path.partition(".")[0], 0)
            for name, tensor in list(module.named_parameters(recurse=False)):
                scalar = tensor.numel() == 1  # the only ones are the temperature's
                if not scalar and (start == 0 or layer_of(f"{path}.{name}") >= start):
                    parametrize.register_parametrization(module, name, Change(tensor, config.alpha))
        self.to(backbone.device)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode of the changes; the towers' own dropout stays off."""
        super().train(mode)
        for module in self.tuned.modules():
            module.training = mode and isinstance(module, Change)
        return self

    def image_features(self, images: ImageInput) -> Tensor:
        """Images -> (B, D)."""
        return self.tuned.encode_image(images).pooled

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """B texts -> (B, D)."""
        return self.tuned.encode_text(self.backbone.tokenize(texts)).pooled

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE of the batch; every changed weight is computed once."""
        with parametrize.cached():
            return super().losses(batch)
