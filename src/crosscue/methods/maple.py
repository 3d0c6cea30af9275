"""MaPLe (arXiv 2210.03117): deep dual prompts, text prompts projected into the image tower at every prompted layer.

    layer i <= J   [start] P_i  words     -> text layer i       (section 3.2.1; P_1 from "a photo of a", the others random)
                            |
                            F_i                                 (section 3.2.3; one linear map a layer)
                            |
                   [class] patches  P~_i  -> image layer i      (section 3.2.2)

With J = 1 this is `dual_prompt`, whose code it is; what is MaPLe's own is how it starts.

Equations:

    MaPLe section 3.2.1 -> methods.dual_prompt.DualPromptLearner.text_prompts
    MaPLe section 3.2.2 -> methods.dual_prompt.DualPrompt.image_features
    MaPLe section 3.2.3 -> methods.dual_prompt.DualPromptLearner.image_prompts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosscue.backbones.protocol import Backbone, TokenBatch
from crosscue.errors import MethodError
from crosscue.methods.dual_prompt import DualPrompt, DualPromptConfig


@dataclass(frozen=True)
class MapleConfig(DualPromptConfig):
    """Options of MaPLe; the defaults are the authors' settings."""

    context_tokens: int = 2
    """Number of learned vectors in each tower (b)."""
    depth: int = 9
    """Number of layers with prompts of their own; at most as many as the shallower tower has (J)."""
    context_words: str | None = "a photo of a"
    """Words whose first embeddings start the prompts of the first layer. None: they are drawn from N(0, 0.02^2)."""
    maple_keep_of_a: bool = False
    """True: the words of `context_words` beyond the learned vectors ("of a") stay as frozen words before every
    caption. The authors' code does so for class names."""


class Maple(DualPrompt):
    """Deep coupled prompts, trained with InfoNCE."""

    name = "maple"
    summary = "Deep dual prompts, coupled at every layer; stronger than shallow ones and slower."
    paper = "arXiv 2210.03117"
    config_class = MapleConfig
    config: MapleConfig

    def __init__(self, backbone: Backbone, config: MapleConfig) -> None:
        super().__init__(backbone, config)
        if config.maple_keep_of_a and config.context_words is None:
            raise MethodError(
                "maple_keep_of_a keeps the rest of context_words, and there are none: give both or neither."
            )

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenises texts, leaving room for the context.

        With `maple_keep_of_a` the context replaces the first tokens of `context_words`, and the others stay.
        """
        if not self.config.maple_keep_of_a:
            return super().tokenize(texts)
        tokens = self.backbone.tokenize([f"{self.config.context_words} {text}" for text in texts])
        count = self.config.context_tokens
        kept = torch.arange(tokens.ids.shape[1] - count, device=tokens.ids.device)
        kept = kept + count * (kept >= tokens.content[0].int().argmax())  # the columns before and after the first words

        def without(columns: Tensor) -> Tensor:
            return columns[:, kept]

        return TokenBatch(without(tokens.ids), tokens.lengths - count, without(tokens.content))
