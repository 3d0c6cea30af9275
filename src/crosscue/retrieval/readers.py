"""One pass over the scores of a gallery for everything that is counted in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from crosscue.retrieval.scores import Scores

BLOCK = 510
"""Images of a tile."""
AT_ONCE = 24_000_000
"""Most scores held at once where blocks of few captions would cost more: 96 MB."""
COLUMNS = 1_024
"""Captions of a tile, whose scores stay in the cache of a core."""


class Reader(Protocol):
    """Part of an evaluation that is counted in the scores of N images with M captions, tile by tile."""

    def start(self, scores: Scores) -> None:
        """Makes room; called before the first tile."""
        ...

    def read(self, i2t: Tensor, t2i: Tensor, images: slice, captions: slice) -> None:
        """Reads a tile (b, m) in both directions, which may be one tensor.

        The tiles of an image come in the order of the captions, and those of a caption in the order of the images.
        A reader that knows the exact score of a pair may write it into the tile, for the readers behind it.
        """
        ...


def read_scores(scores: Scores, readers: Sequence[Reader], *, block: int = BLOCK) -> None:
    """Computes every score once, and shows it to all readers in their order; `block` images have a tile at most."""
    for reader in readers:
        reader.start(scores)
    width = COLUMNS if scores.narrow else scores.caption_count
    block = max(min(block, AT_ONCE // width, scores.image_count), 1)
    for images in _parts(0, scores.image_count, block):
        for computed in _parts(0, scores.caption_count, width):
            i2t, t2i = scores.block(images, computed)
            for captions in _parts(computed.start, computed.stop, COLUMNS):
                tile = slice(captions.start - computed.start, captions.stop - computed.start)
                for reader in readers:
                    reader.read(i2t[:, tile], t2i[:, tile], images, captions)


def _parts(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))
