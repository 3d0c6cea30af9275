"""Rows without padding: linear maps read them, and attention reads them in groups that are padded to one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Places of T rows in G groups of S."""

    places: Tensor
    """(T,) place of each row among G * S."""
    groups: int
    size: int

    @classmethod
    def of(cls, group: np.ndarray) -> tuple[Grid, np.ndarray]:
        """Returns the grid of rows with ascending groups (T,), and the place of each row in its group (T,)."""
        counts = np.bincount(group)
        within = np.arange(len(group)) - (counts.cumsum() - counts)[group]
        size = int(counts.max())
        return cls(torch.from_numpy(group * size + within), len(counts), size), within

    @classmethod
    def of_lengths(cls, lengths: Tensor, size: int) -> Grid:
        """Returns the grid of texts with the given lengths (B,), padded to `size`."""
        real = torch.arange(size) < lengths[:, None]
        return cls(real.flatten().nonzero()[:, 0], len(lengths), size)


def spread(rows: Tensor, grid: Grid) -> Tensor:
    """(T, W) -> (G, S, W), zero where no row stands."""
    found: Tensor = _Spread.apply(rows, grid.places, grid.groups * grid.size)  # type: ignore[no-untyped-call]
    return found.view(grid.groups, grid.size, -1)


def pack(padded: Tensor, grid: Grid) -> Tensor:
    """(G, S, W) -> (T, W)."""
    found: Tensor = _Pack.apply(padded.flatten(0, 1), grid.places)  # type: ignore[no-untyped-call]
    return found


class _Spread(torch.autograd.Function):
    """Copies rows to places of their own. Its backward pass copies too, where that of torch's indexing adds one by one."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(places)
        return rows.new_zeros(count, rows.shape[1]).index_copy_(0, places, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradient.index_select(0, places), None, None


class _Pack(torch.autograd.Function):
    """Takes rows from places of their own."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = len(padded)
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.count, gradient.shape[1]).index_copy_(0, places, gradient), None
