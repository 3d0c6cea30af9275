"""Running a stack of layers with prompts going in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from crosscue.backbones.protocol import Prompts

Layer = Callable[[Tensor], Tensor]


def insert(tokens: Tensor, prompts: Tensor, at: int) -> Tensor:
    """(B, S, W) and (n, W), (1, n, W) or (B, n, W) -> (B, S + n, W), the prompts standing from position `at` on."""
    rows = _rows(prompts, tokens)
    return torch.cat([tokens[:, :at], rows, tokens[:, at:]], dim=1)


def replace(tokens: Tensor, prompts: Tensor, at: int) -> Tensor:
    """(B, S + n, W) -> (B, S + n, W) with the n tokens from position `at` on exchanged for `prompts`."""
    rows = _rows(prompts, tokens)
    return torch.cat([tokens[:, :at], rows, tokens[:, at + rows.shape[1] :]], dim=1)


def word_order(prompts: Prompts | None, lengths: Tensor, positions: int, at: int) -> Tensor | None:
    """Returns (B, S + n) positions that put the trailing prompts behind each text's last word; None where all lead.

    Args:
        prompts: inserted at position `at`.
        lengths: (B,) number of words.
        positions: S + n.
        at: tokens before the prompts.
    """
    if prompts is None or prompts.leading is None:
        return None
    before, count, words = at + prompts.leading, prompts.count, lengths[:, None]
    place = torch.arange(positions, device=lengths.device).expand(lengths.shape[0], -1)
    moved_up = (place >= before) & (place < before + words)  # words close up to the leading prompts
    moved_down = (place >= before + words) & (place < at + count + words)  # trailing prompts
    return place + (count - prompts.leading) * moved_up - words * moved_down


def arrange(tokens: Tensor, order: Tensor | None) -> Tensor:
    """(B, S, W) -> (B, S, W) with row s taken from position `order[s]`; as it is without an order."""
    return tokens if order is None else tokens.gather(1, order[..., None].expand_as(tokens))


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
    rows = prompts.expand(tokens.shape[0], -1, -1)  # of one set for all, or one each
    return rows.to(tokens.dtype)  # (B, n, W)
