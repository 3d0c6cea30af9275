"""Batches of any size on tiny backbones, and the gradients of a method on them."""

from __future__ import annotations

from dataclasses import replace

import torch

from crosscue.backbones.protocol import Backbone
from crosscue.backbones.rows import Rows, divided, sum_gradients
from crosscue.methods.contract import Batch
from crosscue.testing import Case, eight_pairs
from crosscue.testing.steps import total_loss
from crosscue.training.optimisers import select_trainable


def many_pairs(backbone: Backbone, count: int, *, known: bool = False) -> Batch:
    """Returns noisy images; their captions differ in length, or are the eight of which the knowledge is `known`."""
    eight, size = eight_pairs(backbone), backbone.pixels.size
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(5))
    longer = [eight.captions[row % 8] + " on a dog" * (row // 8 % 3) for row in range(count)]
    return replace(
        eight,
        images=pixels.to(torch.uint8),
        captions=[eight.captions[row % 8] for row in range(count)] if known else longer,
        image_ids=[str(row) for row in range(count)],
        categories=[eight.categories[row % 8] for row in range(count)],
        negatives=[eight.negatives[row % 8] for row in range(count)],
    )


def gradients(case: Case, backbone: Backbone, batch: Batch, rows: Rows) -> tuple[dict[str, torch.Tensor], float]:
    """Returns the gradients of one step by parameter, and the loss."""
    method = case.build(backbone).train()
    chosen = select_trainable(method)
    torch.manual_seed(3)
    with divided(method, rows):
        loss = total_loss(method, batch)
        loss.backward()
    if rows.world > 1:
        sum_gradients(method)
    return {name: parameter.grad for name, parameter in chosen if parameter.grad is not None}, loss.item()
