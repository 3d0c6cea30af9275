"""CoOp (arXiv 2109.01134, section 3.2): the words before a caption are learned, nothing else.

    caption  [start] v_1 .. v_M  w_1 .. w_n [end]  -> text tower  -> g(t)
    image    [class] patches                       -> image tower -> f

The image tower sees no prompt, so images are encoded once and their features cached.

Equations:

    CoOp section 3.2 -> methods.coop.Coop.text_features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from crosscue.backbones.protocol import Backbone, ImageInput, Prompts, TokenBatch
from crosscue.errors import MethodError
from crosscue.methods.contract import Batch, ImageUse
from crosscue.methods.parts.context import initial_context
from crosscue.methods.parts.contrastive import ContrastiveConfig, ContrastiveMethod


@dataclass(frozen=True)
class CoopConfig(ContrastiveConfig):
    """Options of the learned context. One context serves all captions: CoOp's class-specific contexts need classes."""

    context_tokens: int = 16
    """Number of learned vectors; each takes the room of a word piece (M)."""
    context_words: str | None = None
    """Words whose embeddings start the context, such as "a photo of a" with 4 tokens. None: it is drawn from N(0,
    0.02^2)."""
    class_token_position: Literal["end", "middle", "front"] = "end"
    """Place of the caption. `end`: after the context. `middle`: between its halves. `front`: before it."""


class Coop(ContrastiveMethod[CoopConfig]):
    """A learned text context, trained with InfoNCE."""

    name = "coop"
    summary = "Learned text context only; images are encoded once. The fewest parameters."
    paper = "arXiv 2109.01134"
    config_class = CoopConfig
    image_use = ImageUse("pooled")

    def __init__(self, backbone: Backbone, config: CoopConfig) -> None:
        super().__init__(backbone, config)
        if config.context_tokens < 0:
            raise MethodError(f"context_tokens is {config.context_tokens}; it must be at least 1.")
        backbone.room(config.context_tokens)  # refuses a context that leaves no room for words
        self.context = nn.Parameter(initial_context(backbone, config.context_tokens, config.context_words))  # (M, W)
        self.to(backbone.device)

    @property
    def reads_whole_batches(self) -> bool:
        """True where the context is before the words, so that captions share it with their beginnings."""
        return super().reads_whole_batches and self.config.class_token_position == "end"

    def image_features(self, images: ImageInput) -> Tensor:
        """f: images -> (B, D), the tower as it is."""
        return self.backbone.encode_image(images).pooled

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """Returns g(t) of CoOp section 3.2: B texts -> (B, D)."""
        count = self.config.context_tokens
        leading = {"end": None, "middle": count // 2, "front": 0}[self.config.class_token_position]
        prompts = Prompts({0: self.context}, leading) if count else None
        return self.backbone.encode_text(self.tokenize(texts), prompts).pooled

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenises texts, leaving room for the context."""
        return self.backbone.tokenize(texts, self.config.context_tokens)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE of the batch.

        Raises:
            MethodError: there is no context to train.
        """
        if not self.config.context_tokens:
            raise MethodError("context_tokens is 0, the backbone as it is: there is nothing to train. Use at least 1.")
        return super().losses(batch)
