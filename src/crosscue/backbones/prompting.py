"""Running a stack of layers with prompts going in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from crosscue.backbones.protocol import Prompts

Layer = Callable[[Tensor], Tensor]


def insert(tokens: Tensor, prompts: Tensor, at: int) -> Tensor:
    """(B, S, W) and (n, W) or (B, n, W) -> (B, S + n, W), the prompts standing from position `at` on."""
    rows = _rows(prompts, tokens)
    return torch.cat([tokens[:, :at], rows, tokens[:, at:]], dim=1)


def replace(tokens: Tensor, prompts: Tensor, at: int) -> Tensor:
    """(B, S + n, W) -> (B, S + n, W) with the n tokens from position `at` on exchanged for `prompts`."""
    rows = _rows(prompts, tokens)
    return torch.cat([tokens[:, :at], rows, tokens[:, at + rows.shape[1] :]], dim=1)


def remove(tokens: Tensor, count: int, at: int) -> Tensor:
    """(B, S + n, W) -> (B, S, W) without the `count` prompt positions."""
    return torch.cat([tokens[:, :at], tokens[:, at + count :]], dim=1) if count else tokens


def run(
    tokens: Tensor,
    layers: Sequence[Layer],
    prompts: Prompts | None,
    at: int,
    *,
    start: int = 0,
    stop: int | None = None,
) -> Tensor:
    """Runs layers `start` .. `stop`-1; prompts of layer 0 must be in `tokens` already.

    At `prompts.first` the prompts are inserted, at later layers of the mapping replaced, elsewhere propagated.
    """
    for index in range(start, len(layers) if stop is None else stop):
        tokens = layers[index](enter(tokens, prompts, index, at))
    return tokens


def enter(tokens: Tensor, prompts: Prompts | None, index: int, at: int) -> Tensor:
    """Returns the input of layer `index`: `tokens` with the prompts of that layer, where it has any and is not layer 0."""
    if prompts is None or index == 0 or index not in prompts.layers:
        return tokens
    place = insert if index == prompts.first else replace
    return place(tokens, prompts.layers[index], at)


def _rows(prompts: Tensor, tokens: Tensor) -> Tensor:
    rows = prompts if prompts.dim() == 3 else prompts.expand(tokens.shape[0], -1, -1)
    return rows.to(tokens.dtype)  # (B, n, W)
