"""Weights of the words of a caption, from those of its tokens (DCAR, figure 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from crosscue.backbones.protocol import Backbone


def words_of(text: str, weights: Tensor, backbone: Backbone) -> list[tuple[str, float]]:
    """Returns the words of a text, split at spaces, each with the mean weight of its tokens.

    Args:
        text: a caption.
        weights: (n,) weights of its content tokens; a cut text has fewer than its words.
        backbone: its tokenizer counts the tokens of a word.

    Returns:
        The words in order; none for a tokenizer whose words are no words at spaces.
    """
    words = text.split()
    pieces = [backbone.token_count(word) for word in words]
    if sum(pieces) != backbone.token_count(text):
        return []
    found, start = [], 0
    for word, count in zip(words, pieces, strict=True):
        own = weights[start : start + count]
        if len(own):
            found.append((word, float(own.mean())))
        start += count
    return found
