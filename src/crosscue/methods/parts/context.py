"""Start of a learned text context."""

from __future__ import annotations

import torch
from torch import Tensor

from crosscue.backbones.protocol import Backbone
from crosscue.errors import MethodError


def initial_context(backbone: Backbone, count: int, words: str | None) -> Tensor:
    """Returns (count, W) vectors: the embeddings of the first `count` tokens of `words`, or N(0, 0.02^2) without words.

    Raises:
        MethodError: `words` has fewer tokens.
    """
    if words is None:
        return 0.02 * torch.randn(count, backbone.text_width)
    tokens = backbone.tokenize([words])
    ids = tokens.ids[0][tokens.content[0]]
    if len(ids) < count:
        raise MethodError(
            f"context_words {words!r} has {len(ids)} tokens and context_tokens is {count}: "
            f"use context_tokens={len(ids)} or longer words."
        )
    return backbone.word_embedding(ids[:count]).detach().float().clone()
