"""What stands for each token of a caption when DCAR compares it with pictures (u_j of eq. 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import by_length, encode_bucketed
from crosscue.backbones.protocol import TokenBatch
from crosscue.errors import MethodError

if TYPE_CHECKING:
    from crosscue.methods.dcar.model import Dcar

REMEMBERED = 20_000
"""Most captions whose token features are kept in memory in training; of a larger set, every step computes its own."""
AT_ONCE = 128
"""Captions whose token features are computed together."""


class TokenFeatures:
    """u_j: what stands for each token of a caption when it is compared with pictures."""

    def __init__(self, method: Dcar) -> None:
        self.method, self.known = method, dict[str, Tensor]()
        backbone, config = method.backbone, method.config
        if config.token_feature == "input" and backbone.text_width != backbone.embed_dim:
            raise MethodError(
                f"token_feature=input compares word embeddings of width {backbone.text_width} with image features of width "
                f"{backbone.embed_dim}. Use token_feature=projected or word with this backbone."
            )
        self.constant = config.token_features_from == "frozen" or config.token_feature == "input"

    def __call__(self, texts: Sequence[str], tokens: TokenBatch) -> Tensor:
        """B sentences -> (B, N, D) unit vectors at content tokens, zeros elsewhere."""
        if not self.constant:
            return self._compute(texts, tokens) * tokens.content.unsqueeze(-1)
        if any(text not in self.known for text in texts):
            return self._compute(texts, tokens) * tokens.content.unsqueeze(-1)
        features = torch.zeros(*tokens.content.shape, self.method.backbone.embed_dim, device=tokens.ids.device)
        features[tokens.content] = torch.cat([self.known[text] for text in texts])
        return features

    @torch.no_grad()
    def remember(self, texts: Sequence[str]) -> None:
        """Computes the features of each distinct sentence once and forgets all others; of more than `REMEMBERED`, none.

        They are computed as a set, so that a resumed run sees the same numbers to the bit.
        """
        self.known.clear()
        distinct = by_length(texts)
        if not self.constant or len(distinct) > REMEMBERED:
            return
        for start in range(0, len(distinct), AT_ONCE):
            some = distinct[start : start + AT_ONCE]
            tokens = self.method.tokenize(some)
            computed = self._compute(some, tokens)
            for row, text in enumerate(some):
                self.known[text] = computed[row, tokens.content[row]]  # (n, D)

    def _compute(self, texts: Sequence[str], tokens: TokenBatch) -> Tensor:
        backbone, config = self.method.backbone, self.method.config
        prompts = self.method.text_prompts() if config.token_features_from == "prompted" else None
        if config.token_feature == "input":
            return normalize(backbone.word_embedding(tokens.ids).float(), dim=-1)
        if config.token_feature == "projected":
            return normalize(backbone.encode_text(tokens, prompts).tokens, dim=-1)
        features = torch.zeros(*tokens.content.shape, backbone.embed_dim, device=tokens.ids.device)
        words = encode_bucketed(
            [word for text in texts for word in text.split()],
            lambda part: backbone.encode_text(self.method.tokenize(part), prompts).pooled,
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
