"""Family `clip`: every checkpoint in the format of `CLIPModel` (OpenAI, LAION, DFN, MetaCLIP and domain CLIPs)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from crosscue.backbones.clip_towers import ClipImageTower, ClipTextTower
from crosscue.backbones.precision import Precision
from crosscue.backbones.protocol import PixelSpec
from crosscue.backbones.tokenizing import Tokenizer
from crosscue.backbones.towers import TwoTowers


class ClipBackbone(TwoTowers):
    """ViT with a class token, causal text tower, softmax-trained."""

    family = "clip"
    packing = "trees"
    has_dense_map = True

    def __init__(
        self, model: Any, tokenizer: Any, pixels: PixelSpec, precision: Precision, image_size: int | None
    ) -> None:
        """Takes a `transformers.CLIPModel` and its tokenizer."""
        super().__init__(
            ClipImageTower(model.vision_model, model.visual_projection, image_size),
            ClipTextTower(model.text_model, model.text_projection),
            Tokenizer(tokenizer, model.config.text_config.max_position_embeddings),
            pixels,
            precision,
            model.config.projection_dim,
        )
        self.scale = model.logit_scale

    @property
    def logit_scale(self) -> Tensor:
        """() exp of the checkpoint's logit scale."""
        return self.scale.detach().float().exp()

    def word_embedding(self, ids: Tensor) -> Tensor:
        """(...,) -> (..., W)."""
        return self.text.text_model.embeddings.token_embedding(ids)
