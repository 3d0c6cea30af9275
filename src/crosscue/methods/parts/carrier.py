"""Carriers of a pre-training objective into retrieval with few pairs.

FILIP, ALIP and FineCLIP were made to train whole models. DCAR compares with them "with the encoders frozen" and does not say what was
trained instead. Here that is a choice, the same for the three: dual prompts, heads on frozen towers, or a tuned copy of the towers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor, nn

from crosscue.backbones.protocol import Backbone, ImageFeatures, ImageInput, TextFeatures, TokenBatch
from crosscue.errors import MethodError
from crosscue.losses.contrastive import same_meaning
from crosscue.methods.contract import Batch, ImageUse, Learns
from crosscue.methods.dual_prompt import DualPromptConfig, DualPromptLearner
from crosscue.methods.parts.contrastive import ContrastiveConfig
from crosscue.methods.parts.tuned_towers import WithTunedTowers, tuned_copy


@dataclass(frozen=True)
class CarrierConfig(ContrastiveConfig):
    """Options of the carrier: the parameters that a method trains beside its own."""

    carrier: Literal["dual_prompt", "heads_only", "full_ft"] = "dual_prompt"
    """Parameters beside the method's own. `dual_prompt`: learned context coupled into the image tower.
    `heads_only`: one linear map a modality after frozen towers. `full_ft`: every weight of a copy of both towers,
    which then is part of the run folder."""
    context_tokens: int = 4
    """Number of learned vectors in each tower, for dual_prompt."""
    depth: int = 1
    """Number of consecutive layers with vectors of their own, for dual_prompt."""
    text_start_layer: int = 0
    """First text layer with prompts, for dual_prompt. 0 puts them beside the word embeddings."""
    image_start_layer: int = 0
    """First image layer with prompts, for dual_prompt. The layers before it may be cached."""
    context_words: str | None = None
    """Words whose embeddings start the context, for dual_prompt. None: it is drawn from N(0, 0.02^2)."""
    tower_lr_scale: float = 0.01
    """Learning rate of the towers, as a multiple of the heads' rate, for full_ft."""

    def prompts(self) -> DualPromptConfig:
        """Returns the options of the prompts."""
        return DualPromptConfig(
            context_tokens=self.context_tokens,
            depth=self.depth,
            text_start_layer=self.text_start_layer,
            image_start_layer=self.image_start_layer,
            context_words=self.context_words,
        )


Config = TypeVar("Config", bound=CarrierConfig)


class Carrier(WithTunedTowers[Config]):
    """Towers with prompts, with heads, or tuned; a method built on it adds its losses.

    With `needs_heads` every carrier has heads; otherwise only heads_only has them. They start as the identity, so that the
    untrained features are those of the towers.
    """

    needs_heads = False

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__(backbone, config)
        self.prompts: DualPromptLearner | None = None
        self.tuned: Backbone | None = None
        if config.carrier == "dual_prompt":
            self.prompts = DualPromptLearner(backbone, config.prompts())
            self.image_use = ImageUse(config.image_start_layer)
        elif config.carrier == "full_ft":
            self.tuned = tuned_copy(backbone)
        else:
            self.image_use = ImageUse(backbone.image_layers)
        width = backbone.embed_dim if self.needs_heads or config.carrier == "heads_only" else None
        self.image_head, self.text_head = identity_head(width), identity_head(width)
        self.to(backbone.device)

    @property
    def towers(self) -> Backbone:
        """Encoders: the shared frozen backbone, or the tuned copy."""
        return self.backbone if self.tuned is None else self.tuned

    def read_images(self, images: ImageInput) -> ImageFeatures:
        """Images -> their features, before the head."""
        return self.towers.encode_image(images, self.prompts.image_prompts() if self.prompts else None)

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenises texts, leaving room for the context."""
        return self.backbone.tokenize(texts, self.config.context_tokens if self.prompts else 0)

    def read_texts(self, tokens: TokenBatch) -> TextFeatures:
        """Tokens -> their features, before the head."""
        return self.towers.encode_text(tokens, self.prompts.text_prompts() if self.prompts else None)

    def image_features(self, images: ImageInput) -> Tensor:
        """(B, 3, S, S) or a cached state -> (B, D)."""
        features: Tensor = self.image_head(self.read_images(images).pooled)
        return features

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """B texts -> (B, D)."""
        features: Tensor = self.text_head(self.read_texts(self.tokenize(texts)).pooled)
        return features

    def same(self, captions: Sequence[str], batch: Batch) -> Tensor | None:
        """(B, B) bool where two rows of a batch, described by `captions`, are no negatives of each other; None if nowhere."""
        if not self.config.mask_duplicates:
            return None
        return same_meaning(captions, batch.image_ids, self.backbone.device)

    def learns(self, name: str) -> Learns | None:
        """Towers learn more slowly than what is new."""
        learns = super().learns(name)
        return Learns(self.config.tower_lr_scale) if learns and name.startswith("tuned.") else learns


def identity_head(width: int | None) -> nn.Module:
    """Returns a linear map that is the identity until it is trained; without a width, the identity for good."""
    if width is None:
        return nn.Identity()
    head = nn.Linear(width, width, bias=False)
    nn.init.eye_(head.weight)
    return head


def class_names(batch: Batch, method: str) -> list[str]:
    """Returns the category of every image, as words.

    Raises:
        MethodError: an image has none.
    """
    names = [(category or "").replace("_", " ") for category in batch.categories]
    if len(names) < len(batch) or not all(names):
        missing = next((i for i, name in enumerate(names) if not name), len(names))
        raise MethodError(
            f"method '{method}' needs the category of every image, and '{batch.image_ids[missing]}' has none. Add a column "
            "'category' to the source, or give each category a folder of its own."
        )
    return names
