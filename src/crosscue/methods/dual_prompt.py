"""Dual prompts (the DP of DCAR, arXiv 2508.04028, eq. 5-8): learned context in the text, projected into the image.

    caption  [start] v_1 .. v_k  w_1 .. w_n [end]  -> text tower  -> T'
                      |
                      F (linear, one per prompted layer, eq. 7)
                      |
    image    [class] patches     e_1 .. e_k        -> image tower -> I'

Only v and F are learned. With `depth` above 1 both towers get fresh prompts at that many consecutive layers, as MaPLe does.

Equations:

    DCAR eq. 5 -> methods.dual_prompt.DualPromptLearner.text_prompts
    DCAR eq. 6 -> methods.dual_prompt.DualPrompt.text_features
    DCAR eq. 7 -> methods.dual_prompt.DualPromptLearner.image_prompts
    DCAR eq. 8 -> methods.dual_prompt.DualPrompt.image_features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from crosscue.backbones.frozen import pixel_store
from crosscue.backbones.protocol import Backbone, ImageInput, Prompts, TokenBatch
from crosscue.backbones.token_weights import TokenWeights
from crosscue.errors import MethodError
from crosscue.methods.capabilities import UsesKnowledge
from crosscue.methods.contract import ImageUse, Learns
from crosscue.methods.parts.context import initial_context
from crosscue.methods.parts.contrastive import ContrastiveConfig, ContrastiveMethod
from crosscue.methods.parts.layers import check_start_layer

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs

IMAGES_OF_START = 64
"""Number of training images in the mean patch."""


@dataclass(frozen=True)
class DualPromptConfig(ContrastiveConfig):
    """Options of dual prompts: their number and their layers."""

    context_tokens: int = 4
    """Number of learned vectors in each tower (k)."""
    depth: int = 1
    """Number of consecutive layers with prompts of their own. 1 is the paper's shallow prompt; more learn more and
    cost more."""
    text_start_layer: int = 0
    """First text layer with prompts. 0 puts them beside the word embeddings."""
    image_start_layer: int = 0
    """First image layer with prompts. The layers before it stay frozen: their output is computed once and cached.
    Raise it for faster training."""
    image_prompts: bool = True
    """True: prompts enter the image tower too. False: it stays as pre-trained, its output is computed once, and a
    step costs the text tower alone."""
    image_start: Literal["projected", "mean_patch"] = "projected"
    """Start of the image prompts. `projected`: F as drawn at random; the tower's first norms lengthen these short
    vectors, and the untrained recall drops. `mean_patch`: the bias of F starts at the mean patch of training images,
    which keeps most of the recall; it needs a higher rate (F)."""
    context_words: str | None = None
    """Words whose embeddings start the context, such as "a photo of a". None: it is drawn from N(0, 0.02^2)."""
    tune_projection: bool = False
    """True: a change of both towers' last projection is trained too; it starts at zero."""
    projection_lr_scale: float = 0.1
    """Learning rate of that change, as a multiple of the prompts' rate."""


class DualPromptLearner(nn.Module):
    """The context vectors v and the coupling F (DCAR eq. 7), for `depth` layers."""

    def __init__(self, backbone: Backbone, config: DualPromptConfig) -> None:
        super().__init__()
        check_placement(backbone, config)
        self.text_start, self.image_start = config.text_start_layer, config.image_start_layer
        words = [config.context_words, *[None] * (config.depth - 1)]
        context = [initial_context(backbone, config.context_tokens, start) for start in words]
        self.context = nn.ParameterList(context)  # depth x (k, W_text)
        coupled = config.depth if config.image_prompts else 0
        self.coupling = nn.ModuleList(
            nn.Linear(backbone.text_width, backbone.image_width) for _ in range(coupled)
        )  # depth x (W_text -> W_image)

    def text_prompts(self) -> Prompts:
        """Returns v (DCAR eq. 5; MaPLe section 3.2.1)."""
        return Prompts.of(list(self.context), self.text_start)

    def image_prompts(self) -> Prompts | None:
        """Returns e = F(v) (DCAR eq. 7; MaPLe section 3.2.3), or None where the image tower gets no prompts."""
        if not self.coupling:
            return None
        projected = [couple(context) for couple, context in zip(self.coupling, self.context, strict=True)]
        return Prompts.of(projected, self.image_start)

    @torch.no_grad()
    def start_at(self, patches: Sequence[Tensor]) -> None:
        """Sets the biases of F to patches (W_image,), one for each prompted layer."""
        for layer, patch in enumerate(patches):
            self.coupling.get_parameter(f"{layer}.bias").copy_(patch)


class DualPrompt(ContrastiveMethod[DualPromptConfig], UsesKnowledge):
    """Learned text context and the visual prompts projected from it, trained with symmetric InfoNCE."""

    name = "dual_prompt"
    summary = "Learned text context, coupled into the image tower; encoders frozen."
    paper = "arXiv 2508.04028, section 3.2 (DP)"
    config_class = DualPromptConfig

    def __init__(self, backbone: Backbone, config: DualPromptConfig) -> None:
        super().__init__(backbone, config)
        self.image_use = ImageUse(
            config.image_start_layer if config.image_prompts else "pooled", hidden=config.tune_projection
        )
        self.prompts = DualPromptLearner(backbone, config)
        self.image_change: nn.Linear | None = None
        self.text_change: nn.Linear | None = None
        if config.tune_projection:
            self.image_change = zero_linear(backbone.image_width, backbone.embed_dim)
            self.text_change = zero_linear(backbone.text_width, backbone.embed_dim)
        self.to(backbone.device)

    def study(self, train: Pairs, captions: Sequence[str]) -> dict[str, Any]:
        """Starts the image prompts at the mean patch where the options say so; see `UsesKnowledge.study`."""
        if self.config.image_start == "mean_patch":
            first = self.config.image_start_layer
            layers = range(first, first + len(self.prompts.coupling))
            self.prompts.start_at([mean_patch(self.backbone, train, layer) for layer in layers])
        return {}

    def image_features(self, images: ImageInput) -> Tensor:
        """Returns I' (DCAR eq. 8; MaPLe section 3.2.2): (B, 3, S, S) or a cached state -> (B, D)."""
        features = self.backbone.encode_image(images, self.image_prompts())
        if self.image_change is None:
            return features.pooled
        return features.pooled + self.image_change(features.hidden)

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """Returns T' of DCAR eq. 6: B texts -> (B, D)."""
        return self.read(self.tokenize(texts))

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenises texts, leaving room for the context."""
        return self.backbone.tokenize(texts, self.config.context_tokens)

    def read(self, tokens: TokenBatch, token_weights: TokenWeights | None = None) -> Tensor:
        """Tokens, and weights of them -> (B, D)."""
        features = self.backbone.encode_text(tokens, self.text_prompts(), token_weights)
        if self.text_change is None:
            return features.pooled
        return features.pooled + self.text_change(features.hidden)

    def text_prompts(self) -> Prompts | None:
        """Returns v of DCAR eq. 5."""
        return self.prompts.text_prompts()

    def image_prompts(self) -> Prompts | None:
        """Returns e = F(v) of DCAR eq. 7."""
        return self.prompts.image_prompts()

    def learns(self, name: str) -> Learns | None:
        """The projections' change learns more slowly than the prompts."""
        return Learns(self.config.projection_lr_scale) if "_change." in name else super().learns(name)


def check_placement(backbone: Backbone, config: DualPromptConfig) -> None:
    """Raises `MethodError` where the towers have no such layers, naming the largest possible depth."""
    if config.context_tokens < 1:
        raise MethodError("context_tokens must be at least 1: without prompts use method 'zero_shot'.")
    for tower, start, layers in (
        ("text", config.text_start_layer, backbone.text_layers),
        ("image", config.image_start_layer, backbone.image_layers),
    ):
        check_start_layer(tower, start, layers)
        if not 1 <= config.depth <= layers - start:
            raise MethodError(
                f"depth is {config.depth}; from layer {start} the {tower} tower of '{backbone.source}' has room "
                f"for 1 to {layers - start}."
            )


@torch.no_grad()
def mean_patch(backbone: Backbone, train: Pairs, layer: int) -> Tensor:
    """Returns the (W_image,) mean of the patches at the input of an image layer, over evenly spaced training images."""
    step = max(len(train) // IMAGES_OF_START, 1)
    pixels = pixel_store(train.images, backbone, source=train.origin)[range(0, len(train), step)]
    parts = [backbone.image_state(part.to(backbone.device), layer).tokens.float() for part in pixels.split(32)]
    return torch.cat(parts)[:, -backbone.patch_count :].mean((0, 1))


def zero_linear(width: int, embed_dim: int) -> nn.Linear:
    """Returns a linear map that is zero until it is trained."""
    linear = nn.Linear(width, embed_dim)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
