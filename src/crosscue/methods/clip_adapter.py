"""CLIP-Adapter (arXiv 2110.04544, section 3.2): a small bottleneck behind a tower, mixed with the tower's own feature.

    A(f) = relu(W_2 relu(W_1 f))     D -> D / 4 -> D, no biases
    f*   = r A(f) + (1 - r) f

f is the tower's feature before it is normalised. Both towers stay untouched, so every image and caption is encoded once.

Equations:

    A(f)               -> methods.clip_adapter.Bottleneck.forward
    r A(f) + (1 - r) f -> methods.clip_adapter.mixed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import relu

from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.errors import MethodError
from crosscue.methods.parts.contrastive import ContrastiveConfig
from crosscue.methods.parts.frozen_towers import FrozenTowersMethod


@dataclass(frozen=True)
class ClipAdapterConfig(ContrastiveConfig):
    """Options of the adapters: their places and their shares."""

    adapters: Literal["image", "text", "both"] = "image"
    """Features that are adapted: `image`, as in the authors' code, `text`, or `both`, as in the paper."""
    image_ratio: float = 0.2
    """Share of the adapted image feature; 0 is the backbone as it is (r)."""
    text_ratio: float = 0.2
    """Share of the adapted text feature; 0 is the backbone as it is (r, in the paper beta)."""
    reduction: int = 4
    """Ratio of the feature's width to the bottleneck's."""
    output_relu: bool = True
    """True: the adapter ends with a ReLU, as in the authors' code. It then only raises components of a feature."""


class Bottleneck(nn.Module):
    """The adapter A: two linear maps with a ReLU between them, and another behind them."""

    def __init__(self, width: int, config: ClipAdapterConfig) -> None:
        super().__init__()
        if not 1 <= config.reduction <= width:
            raise MethodError(
                f"reduction is {config.reduction}; features are {width} wide, so 1 to {width} is possible."
            )
        self.down = nn.Linear(width, width // config.reduction, bias=False)
        self.up = nn.Linear(width // config.reduction, width, bias=False)
        self.output_relu = config.output_relu

    def forward(self, features: Tensor) -> Tensor:
        """A(f): (..., D) -> (..., D)."""
        adapted = self.up(relu(self.down(features)))
        return relu(adapted) if self.output_relu else adapted


class ClipAdapter(FrozenTowersMethod[ClipAdapterConfig]):
    """Bottleneck adapters behind frozen towers, trained with InfoNCE."""

    name = "clip_adapter"
    summary = "A small network behind the frozen towers; everything is encoded once, so epochs take seconds."
    paper = "arXiv 2110.04544"
    config_class = ClipAdapterConfig

    def __init__(self, backbone: Backbone, config: ClipAdapterConfig) -> None:
        super().__init__(backbone, config)
        for name, ratio in (("image_ratio", config.image_ratio), ("text_ratio", config.text_ratio)):
            if not 0 <= ratio <= 1:
                raise MethodError(f"{name} is {ratio}; it is a share, from 0 (the backbone) to 1 (the adapter alone).")
        width = backbone.embed_dim
        self.image_adapter = Bottleneck(width, config) if config.adapters != "text" else None
        self.text_adapter = Bottleneck(width, config) if config.adapters != "image" else None
        self.to(backbone.device)

    def image_features(self, images: ImageInput) -> Tensor:
        """f*: images -> (B, D)."""
        return mixed(self.image_adapter, self.plain_images(images), self.config.image_ratio)

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """W*: B texts -> (B, D)."""
        return mixed(self.text_adapter, self.plain_texts(texts), self.config.text_ratio)


def mixed(adapter: Bottleneck | None, features: Tensor, ratio: float) -> Tensor:
    """(B, D) -> (B, D): r A(f) + (1 - r) f; f where there is no adapter."""
    return features if adapter is None else ratio * adapter(features) + (1 - ratio) * features
