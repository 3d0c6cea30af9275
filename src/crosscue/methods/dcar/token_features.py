"""Features u_j of the tokens of a caption, which DCAR compares with images (eq. 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import encode_bucketed
from crosscue.backbones.protocol import Backbone, Prompts, TokenBatch
from crosscue.backbones.text_memory import TextMemory
from crosscue.errors import MethodError
from crosscue.methods.dcar.config import DcarConfig

MOST = 20_000
"""Most captions whose token features are kept in memory in training; of a larger set, every step computes its own."""
AT_ONCE = 128
"""Captions whose token features are computed together."""


class TokenFeatures:
    """Features u_j of the tokens of a caption."""

    def __init__(
        self,
        backbone: Backbone,
        config: DcarConfig,
        tokenize: Callable[[Sequence[str]], TokenBatch],
        prompts: Callable[[], Prompts | None],
    ) -> None:
        """Checks that the backbone has such features.

        Args:
            backbone: the towers.
            config: the options of DCAR.
            tokenize: texts -> tokens, with room for the text prompts.
            prompts: returns the text prompts as they are now.

        Raises:
            MethodError: word embeddings and image features differ in width.
        """
        if config.token_feature == "input" and backbone.text_width != backbone.embed_dim:
            raise MethodError(
                f"token_feature=input compares word embeddings of width {backbone.text_width} with image features of width "
                f"{backbone.embed_dim}. Use token_feature=projected or word with this backbone."
            )
        self.backbone, self.config, self.tokenize, self.prompts = backbone, config, tokenize, prompts
        self.constant = config.token_features_from == "frozen" or config.token_feature == "input"
        self.memory: TextMemory[Tensor] = TextMemory(self._contents, MOST)

    def __call__(self, texts: Sequence[str], tokens: TokenBatch) -> Tensor:
        """B texts -> (B, N, D) unit vectors at content tokens, zeros elsewhere."""
        known = self.memory.recall(texts)
        if known is None:
            return self._compute(texts, tokens) * tokens.content.unsqueeze(-1)
        features = torch.zeros(*tokens.content.shape, self.backbone.embed_dim, device=tokens.ids.device)
        features[tokens.content] = torch.cat(known)
        return features

    @torch.no_grad()
    def remember(self, texts: Sequence[str]) -> None:
        """Computes the features of each distinct text once and forgets all others; of more than `MOST`, none."""
        self.memory.fill(texts if self.constant else [])

    def _contents(self, texts: Sequence[str]) -> list[Tensor]:
        """Returns the (n, D) features of the n content tokens of each text."""
        contents: list[Tensor] = []
        for start in range(0, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            tokens = self.tokenize(some)
            computed = self._compute(some, tokens)
            contents += [computed[row, tokens.content[row]] for row in range(len(some))]
        return contents

    def _compute(self, texts: Sequence[str], tokens: TokenBatch) -> Tensor:
        backbone, config = self.backbone, self.config
        prompts = self.prompts() if config.token_features_from == "prompted" else None
        if config.token_feature == "input":
            return normalize(backbone.word_embedding(tokens.ids).float(), dim=-1)
        if config.token_feature == "projected":
            return normalize(backbone.encode_text(tokens, prompts).tokens, dim=-1)
        features = torch.zeros(*tokens.content.shape, backbone.embed_dim, device=tokens.ids.device)
        words = encode_bucketed(
            [word for text in texts for word in text.split()],
            lambda part: backbone.encode_text(self.tokenize(part), prompts).pooled,
        )
        start = 0
        for row, text in enumerate(texts):
            pieces = [backbone.token_count(word) for word in text.split()]
            if sum(pieces) != backbone.token_count(text):
                raise MethodError(
                    f"token_feature=word needs a tokenizer that splits at spaces; {text[:60]!r} has {backbone.token_count(text)} "
                    f"tokens and its words alone have {sum(pieces)}. Use token_feature=projected."
                )
            own = words[start : start + len(pieces)].repeat_interleave(torch.tensor(pieces, device=words.device), dim=0)
            features[row, tokens.content[row]] = own[: int(tokens.content[row].sum())]
            start += len(pieces)
        return normalize(features, dim=-1)
