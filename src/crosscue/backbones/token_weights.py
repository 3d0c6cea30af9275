"""Weights of the words of a text (DCAR eq. 14), and the places of a text tower where they act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

WeightsPlace = Literal["input", "pooling", "attention"]


@dataclass(frozen=True)
class TokenWeights:
    """A weight for every position of B texts."""

    values: Tensor
    """(B, N) aligned with `TokenBatch.ids`; 1 changes nothing."""
    place: WeightsPlace = "input"
    """`input`: word embeddings are multiplied. `pooling`: the mean over positions is a weighted mean. `attention`: the
    logarithms are added to the attention scores of the positions, in every layer."""


def weighted_words(words: Tensor, weights: TokenWeights | None) -> Tensor:
    """(B, N, W) word embeddings, times their weights where these act at the input."""
    if weights is None or weights.place != "input":
        return words
    return words * weights.values.unsqueeze(-1).to(words.dtype)


def attention_scores(weights: TokenWeights, order: Tensor | None, positions: int, at: int) -> Tensor:
    """Returns (B, 1, 1, S) terms to add to the attention scores of S positions; prompts weigh 1.

    Args:
        weights: of the N positions without prompts.
        order: (B, S) positions as `prompting.word_order` returns them.
        positions: S, N and the number of prompts that have entered.
        at: tokens before the prompts.
    """
    values = weights.values
    prompts = values.new_ones(len(values), positions - values.shape[1])
    logs = torch.cat([values[:, :at], prompts, values[:, at:]], dim=1).log()  # (B, S)
    return (logs if order is None else logs.gather(1, order))[:, None, None]


def attentive(
    layers: Sequence[Any], weights: TokenWeights | None, order: Tensor | None, at: int, *, causal: bool = False
) -> Sequence[Any]:
    """Returns the layers, with weights in their attention where they act there: (B, S, W) -> (B, S, W)."""
    if weights is None or weights.place != "attention":
        return layers

    def weighing(layer: Any, given: TokenWeights = weights) -> Callable[[Tensor], Tensor]:
        def call(sequence: Tensor) -> Tensor:
            positions = sequence.shape[1]
            mask = attention_scores(given, order, positions, at)
            if causal:
                later = torch.ones(positions, positions, dtype=torch.bool, device=mask.device).triu(1)
                mask = mask.masked_fill(later, float("-inf"))  # (B, 1, S, S)
            out: Tensor = layer(sequence, attention_mask=mask.to(sequence.dtype), is_causal=False)
            return out

        return call

    return [weighing(layer) for layer in layers]
