"""Ranking by token-level scores in bounded memory: real tokens are kept, similarities only for a tile at a time.

All pairs of a gallery of 1,000 pictures (49 patches) and 5,000 captions (30 tokens) have 7 thousand million token similarities.
A tile holds `TILE` of them; every score is computed from the float32 tokens of its own pair, so tiling changes rounding at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crosscue.backbones.embedding import by_length
from crosscue.evaluation.scores import require_finite
from crosscue.methods.late_interaction import LateInteraction, Tokens
from crosscue.progress import progress

if TYPE_CHECKING:
    from torch import device as Device

    from crosscue.training.feed import Images

TILE = 8_000_000
"""Most token similarities computed at once: 32 MB."""
TILE_PICTURES = 16
PAIRS_AT_ONCE = 256


class TokenStore:
    """The tokens of many items, float32 on the CPU, one after the other: padding is not stored."""

    def __init__(self, what: str, batches: list[Tokens]) -> None:
        """Takes batches, and empties the list while it copies, so that memory is needed once.

        Raises:
            CrosscueError: a vector is not finite.
        """
        lengths = torch.cat([batch.valid.sum(1) for batch in batches]).cpu()
        self.start = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])  # (N + 1,)
        self.whole = torch.cat([batch.whole for batch in batches]).float().cpu()  # (N, D)
        self.vectors = torch.empty(int(self.start[-1]), self.whole.shape[1])  # (T, D)
        filled, first = 0, 0
        batches.reverse()
        while batches:
            batch = batches.pop()
            rows = batch.vectors[batch.valid]
            self.vectors[filled : filled + len(rows)] = rows
            require_finite(f"{what} {first} or one of the {len(batch) - 1} after it, token", rows)
            filled, first = filled + len(rows), first + len(batch)

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, items: Tensor, device: Device) -> Tokens:
        """Returns (b,) items as (b, S, D), padded to the longest of them."""
        first, length = self.start[items], self.start[items + 1] - self.start[items]
        place = torch.arange(int(length.max()))
        valid = place < length[:, None]  # (b, S)
        index = torch.where(valid, first[:, None] + place, first[:, None])
        return Tokens(self.vectors[index].to(device), valid.to(device), self.whole[items].to(device))


class LateScores:
    """`Scores` by a method's `token_scores`; each distinct caption is encoded and compared once."""

    def __init__(
        self, method: LateInteraction, images: TokenStore, texts: TokenStore, row: Tensor, device: Device
    ) -> None:
        """Takes the tokens of N pictures and U distinct captions, and `row` (M,): the distinct caption of each caption."""
        self.method, self.images, self.texts, self.row, self.device = method, images, texts, row, device
        self.pictures, self.captions = len(images), len(row)

    def own(self, picture: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.own`."""
        scores, row = torch.empty(2, len(picture)), self.row[caption]
        for start in range(0, len(picture), TILE_PICTURES):
            pairs = slice(start, start + TILE_PICTURES)
            tile = self._tile(picture[pairs], row[pairs])
            for direction in range(2):
                scores[direction, pairs] = tile[direction].diagonal()
        return scores[0], scores[1]

    def block(self, pictures: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """See `Scores.block`."""
        rows, back = self.row[captions].unique(return_inverse=True)  # in the order of the store: shortest first
        images = torch.arange(self.pictures)[pictures]
        scores = torch.empty(2, len(images), len(rows))
        patches = int((self.images.start[images + 1] - self.images.start[images]).max())
        words = self.texts.start[rows + 1] - self.texts.start[rows]
        stop = len(rows)
        while stop:  # the longest captions first; a tile takes as many as it has room for
            start = max(stop - max(TILE // (TILE_PICTURES * patches * int(words[stop - 1])), 1), 0)
            for first in range(0, len(images), TILE_PICTURES):
                some = slice(first, first + TILE_PICTURES)
                scores[:, some, start:stop] = torch.stack(self._tile(images[some], rows[start:stop]))
            stop = start
        return scores[0][:, back], scores[1][:, back]

    def chosen(self, captions: Tensor) -> LateScores:
        """See `Scores.chosen`."""
        return LateScores(self.method, self.images, self.texts, self.row[captions], self.device)

    @torch.no_grad()
    def _tile(self, pictures: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        i2t, t2i = self.method.token_scores(self.images.take(pictures, self.device), self.texts.take(rows, self.device))
        return i2t.float().cpu(), t2i.float().cpu()


@torch.no_grad()
def late_scores(
    method: LateInteraction, images: Images, count: int, captions: Sequence[str], device: Device, batch_size: int = 32
) -> LateScores:
    """Encodes `count` pictures and the distinct captions, each side alone, and returns their scores."""
    parts = []
    with progress("encoding pictures", count, "pictures") as advance:
        for start in range(0, count, batch_size):
            batch = images[range(start, min(start + batch_size, count))]
            parts.append(_on_cpu(method.image_tokens(batch.to(device))))
            advance(len(batch))
    pictures = TokenStore("picture", parts)
    ordered = by_length(captions)
    place = {text: number for number, text in enumerate(ordered)}
    with progress("encoding captions", len(ordered), "captions") as advance:
        for start in range(0, len(ordered), batch_size):
            texts = ordered[start : start + batch_size]
            parts.append(_on_cpu(method.text_tokens(texts)))
            advance(len(texts))
    row = torch.tensor([place[text] for text in captions])
    return LateScores(method, pictures, TokenStore("distinct caption", parts), row, device)


def _on_cpu(tokens: Tokens) -> Tokens:
    return Tokens(tokens.vectors.cpu(), tokens.valid.cpu(), tokens.whole.cpu())
