"""Losses written as the papers print them, pair by pair, without the code under test."""

from __future__ import annotations

import torch
from torch import Tensor


def pair_cross_entropies(logits: Tensor, same: Tensor) -> Tensor:
    """Return (B,) -log of the softmax at its own column, row by row; `same` (B, B) bool are no negatives."""
    rows = []
    for i in range(len(logits)):
        others = [logits[i, j] for j in range(len(logits)) if j != i and not same[i, j]]
        rows.append(torch.stack([logits[i, i], *others]).exp().sum().log() - logits[i, i])
    return torch.stack(rows)


def both_ways(logits: Tensor, same: Tensor) -> Tensor:
    """Return (B,) the mean of image to text and text to image."""
    return (pair_cross_entropies(logits, same) + pair_cross_entropies(logits.T, same.T)) / 2


def shared(*keys: list[str]) -> Tensor:
    """Return (B, B) bool: two different rows share one of their keys."""
    count = len(keys[0])
    return torch.tensor(
        [[i != j and any(key[i] == key[j] for key in keys) for j in range(count)] for i in range(count)]
    )


def require_equal_gradients(found: Tensor, wanted: Tensor, learned: dict[str, Tensor]) -> None:
    """Compare the gradients of two losses: every tensor has one, equal up to 0.2 percent of its largest entry."""
    pairs = zip(
        *(torch.autograd.grad(loss, [*learned.values()], retain_graph=True) for loss in (found, wanted)), strict=True
    )
    for name, (gradient, right) in zip(learned, pairs, strict=True):
        size = float(right.abs().max())
        assert size > 0, name
        torch.testing.assert_close(gradient, right, rtol=1e-2, atol=2e-3 * size, msg=lambda t, n=name: f"{n}: {t}")
