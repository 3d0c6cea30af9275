"""LoRA (arXiv 2106.09685) on the queries and values of both towers, by `peft`.

    q = (W_q + (alpha / r) B_q A_q) x,   v likewise      (section 4.1; W frozen, A random, B zero before training)

The backbone stays as it is: LoRA is attached to new modules around the very same tensors, which takes no memory for the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.errors import MethodError
from crosscue.methods.contract import ImageUse
from crosscue.methods.parts.contrastive import ContrastiveConfig, ContrastiveMethod
from crosscue.methods.parts.layers import check_start_layers, layer_of

TARGETS = ("q_proj", "v_proj", "query", "value")
"""Names of the query and value projections in the supported towers."""


@dataclass(frozen=True)
class LoraConfig(ContrastiveConfig):
    """Options of LoRA: the size of the changes and their layers."""

    rank: int = 4
    """Rank of every change; more learn more and need more pairs (r)."""
    alpha: int = 4
    """Scale of the changes: each is multiplied by alpha / rank (alpha)."""
    text_start_layer: int = 0
    """First text layer that is changed."""
    image_start_layer: int = 0
    """First image layer that is changed. The layers before it stay frozen: their output is computed once and
    cached."""


class Lora(ContrastiveMethod[LoraConfig]):
    """Low-rank changes of attention in both towers, trained with InfoNCE."""

    name = "lora"
    summary = (
        "Low-rank changes of attention in both towers. Learns more than prompts do, and needs more pairs. Extra: lora."
    )
    paper = "arXiv 2106.09685"
    config_class = LoraConfig

    def __init__(self, backbone: Backbone, config: LoraConfig) -> None:
        super().__init__(backbone, config)
        try:
            import peft
        except ImportError as error:
            raise MethodError("method 'lora' needs the peft package: pip install 'crosscue[lora]'") from error
        if config.rank < 1:
            raise MethodError(f"rank is {config.rank}; it must be at least 1.")
        self.image_use = ImageUse(config.image_start_layer)
        self.changed = backbone.shared_copy()
        check_start_layers(backbone, config.text_start_layer, config.image_start_layer)
        for tower, start in (("text", config.text_start_layer), ("image", config.image_start_layer)):
            module = self.changed.get_submodule(tower)
            settings = peft.LoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                target_modules=attention_targets(module, start),
            )
            peft.inject_adapter_in_model(settings, module)
        for name, parameter in self.named_parameters():
            if self.learns(name) is not None:
                parameter.data = parameter.data.float()  # peft gives them the towers' dtype
        self.to(backbone.device)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode; the towers always stay in evaluation mode."""
        super().train(mode)
        self.changed.eval()
        return self

    def image_features(self, images: ImageInput) -> Tensor:
        """Images -> (B, D)."""
        return self.changed.encode_image(images).pooled

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """B texts -> (B, D)."""
        return self.changed.encode_text(self.backbone.tokenize(texts)).pooled


def attention_targets(tower: nn.Module, start: int) -> list[str]:
    """Returns the names of a tower's query and value projections in its layers from `start` on."""
    names = (name for name, _ in tower.named_modules() if name.rpartition(".")[2] in TARGETS)
    return [name for name in names if start <= layer_of(name) < math.inf]
