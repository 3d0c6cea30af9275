"""Ranking by token-level scores in bounded memory: real tokens are kept, similarities only for a tile at a time.

All pairs of a gallery of 1,000 images (49 patches) and 5,000 captions (30 tokens) have 7 thousand million token similarities.
A tile holds `TILE` of them; every score is computed from the float32 tokens of its own pair, so tiling changes rounding at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crosscue.backbones.embedding import by_length
from crosscue.methods.capabilities import LateInteraction, Tokens
from crosscue.progress import progress
from crosscue.retrieval.scores import require_finite

if TYPE_CHECKING:
    from torch import device as Device

    from crosscue.backbones.frozen import Images

TILE = 2_000_000
"""Most token similarities computed at once: 8 MB."""
TILE_IMAGES = 16
"""Images of a tile."""


class TokenStore:
    """The tokens of many items, float32 on the CPU, without padding."""

    def __init__(self, what: str) -> None:
        """Starts empty; `what` names the items in messages."""
        self.what = what
        self.items: list[Tensor] = []  # (n, D) each
        self.wholes: list[Tensor] = []  # (D,) each
        self.lengths = torch.zeros(0, dtype=torch.int64)  # (N,) tokens of each item

    def __len__(self) -> int:
        return len(self.items)

    def add(self, tokens: Tokens) -> None:
        """Appends a batch of items.

        Raises:
            CrosscueError: a vector is not finite.
        """
        lengths, rows = tokens.valid.sum(1).cpu(), tokens.vectors[tokens.valid].float().cpu()  # (B,), (T, D)
        require_finite(f"{self.what} {len(self)} or one of the {len(tokens) - 1} after it, token", rows)
        self.items += rows.split(lengths.tolist())
        self.wholes += tokens.whole.float().cpu().clone().unbind()  # a view would keep all it was cut from
        self.lengths = torch.cat([self.lengths, lengths])

    def take(self, numbers: Tensor, device: Device) -> Tokens:
        """Returns (b,) items as (b, S, D), padded with zeros to the longest of them."""
        chosen = numbers.tolist()
        vectors = pad_sequence([self.items[number] for number in chosen], batch_first=True)
        valid = torch.arange(vectors.shape[1]) < self.lengths[numbers][:, None]  # (b, S)
        whole = torch.stack([self.wholes[number] for number in chosen])
        return Tokens(vectors.to(device), valid.to(device), whole.to(device))


class LateScores:
    """`Scores` by a method's `token_scores`; each distinct caption is encoded and compared once."""

    kind = "token by token, one score a direction"
    narrow = False  # a distinct caption is compared once a block

    def __init__(
        self, method: LateInteraction, images: TokenStore, texts: TokenStore, row: Tensor, device: Device
    ) -> None:
        """Takes the tokens of N images and U distinct captions, and `row` (M,): the distinct caption of each caption."""
        self.method, self.images, self.texts, self.row, self.device = method, images, texts, row, device
        self.image_count, self.caption_count = len(images), len(row)

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.own`."""
        scores, row = torch.empty(2, len(image)), self.row[caption]
        largest = int(self.images.lengths[image].max()) * int(self.texts.lengths[row].max())
        side = max(min(int((TILE / largest) ** 0.5), TILE_IMAGES), 1)
        for start in range(0, len(image), side):
            pairs = slice(start, start + side)
            for direction, tile in enumerate(self._tile(image[pairs], self.texts.take(row[pairs], self.device))):
                scores[direction, pairs] = tile.diagonal()
        return scores[0], scores[1]

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """See `Scores.block`."""
        chosen = torch.arange(self.image_count)[images]
        rows, back = self.row[captions].unique(return_inverse=True)
        lengths, order = self.texts.lengths[rows].sort()  # captions of similar length share a tile
        scores = torch.empty(2, len(chosen), len(rows))
        of_images = min(TILE_IMAGES, len(chosen)) * int(self.images.lengths[chosen].max())
        stop = len(rows)
        with progress("comparing tokens", len(chosen) * len(rows), "pairs", fleeting=True) as advance:
            while stop:  # the longest captions first; a tile takes as many as it has room for
                start = max(stop - max(TILE // (of_images * int(lengths[stop - 1])), 1), 0)
                some = order[start:stop]
                texts = self.texts.take(rows[some], self.device)
                for first in range(0, len(chosen), TILE_IMAGES):
                    part = slice(first, first + TILE_IMAGES)
                    for direction, tile in enumerate(self._tile(chosen[part], texts)):
                        scores[direction, part, some] = tile
                    advance(len(chosen[part]) * len(some))
                stop = start
        return scores[0][:, back], scores[1][:, back]

    @torch.no_grad()
    def _tile(self, images: Tensor, texts: Tokens) -> tuple[Tensor, Tensor]:
        i2t, t2i = self.method.token_scores(self.images.take(images, self.device), texts)
        return i2t.float().cpu(), t2i.float().cpu()


@torch.no_grad()
def late_scores(
    method: LateInteraction, images: Images, count: int, captions: Sequence[str], device: Device, batch_size: int = 32
) -> LateScores:
    """Encodes `count` images and the distinct captions, each side alone, and returns their scores."""
    gallery, texts = TokenStore("image"), TokenStore("distinct caption")
    with progress("encoding images", count, "images") as advance:
        for start in range(0, count, batch_size):
            batch = images[range(start, min(start + batch_size, count))]
            gallery.add(method.image_tokens(batch.to(device)))
            advance(len(batch))
    ordered = by_length(captions)
    place = {text: number for number, text in enumerate(ordered)}
    with progress("encoding captions", len(ordered), "captions") as advance:
        for start in range(0, len(ordered), batch_size):
            texts.add(method.text_tokens(ordered[start : start + batch_size]))
            advance(len(ordered[start : start + batch_size]))
    return LateScores(method, gallery, texts, torch.tensor([place[text] for text in captions]), device)
