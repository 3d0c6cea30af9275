"""The category path of DCAR (arXiv 2508.04028, eq. 16-17): edited captions, their weights, and the head F_CAA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from crosscue.errors import MethodError
from crosscue.methods.contract import Batch

if TYPE_CHECKING:
    from crosscue.data.pairs import Negative


@dataclass(frozen=True)
class Edited:
    """The negatives of a batch: E edited captions, and at most Q of them for each of B images."""

    texts: list[str]
    place: Tensor
    """(B, Q) index in `texts`."""
    weights: Tensor
    """(B, Q) w of eq. 17; 0 where a caption has fewer than Q negatives."""


def require_negatives(negatives: Iterable[Sequence[Negative]]) -> None:
    """Raises `MethodError` if no caption has a negative."""
    if not any(negatives):
        raise MethodError(
            "category-aware augmentation needs negatives, and these pairs have none. Write them with `crosscue data negatives "
            "SOURCE --out PAIRS.jsonl` (the source needs a category column), or train with --options.ca false."
        )


def edited_captions(batch: Batch, most: int, alpha: float) -> Edited:
    """Returns the first `most` negatives of every caption of a batch.

    Raises:
        MethodError: no caption of the batch has a negative.
    """
    require_negatives(batch.negatives)
    rows = [list(row)[:most] for row in batch.negatives]
    texts = [negative.text for row in rows for negative in row]
    place = torch.zeros(len(batch), max(map(len, rows)), dtype=torch.int64)
    weights = torch.zeros(place.shape)
    following = 0
    for row, members in enumerate(rows):
        place[row, : len(members)] = torch.arange(following, following + len(members))
        weights[row, : len(members)] = torch.tensor([weight(negative.type, alpha) for negative in members])
        following += len(members)
    return Edited(texts, place, weights)


def weight(kind: str, alpha: float) -> float:
    """Returns w of a negative (DCAR eq. 17): 1 where another category was put in, else 1 + alpha."""
    return 1.0 if kind == "category" else 1 + alpha


class CategoryHead(nn.Module):
    """The head F_CAA: (..., D) unit vectors -> (..., D)."""

    def __init__(self, embed_dim: int, width: int, kind: str) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(embed_dim, width), nn.Linear(width, embed_dim)
        self.kind = kind
        if kind == "residual_zero":
            nn.init.zeros_(self.second.weight)
            nn.init.zeros_(self.second.bias)

    def forward(self, texts: Tensor) -> Tensor:
        """Returns text features adapted for the category path (DCAR eq. 16)."""
        hidden = self.first(texts)
        out: Tensor = self.second(hidden if self.kind == "plain_linear" else hidden.relu())
        return texts + out if self.kind == "residual_zero" else out
