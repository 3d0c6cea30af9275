"""Batches of texts of similar length, so that little padding is computed, and no text twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crosscue.progress import progress

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone

Encode = Callable[[Sequence[str]], Tensor]
"""n texts -> (n, D)"""

QUIET = 2_000
"""Fewer texts than this are encoded without a progress bar."""


def by_length(texts: Sequence[str]) -> list[str]:
    """Returns the distinct texts, shortest first; bytes stand for tokens, which is all sorting needs."""
    return sorted(dict.fromkeys(texts), key=lambda text: (len(text.encode()), text))


def encode_rows(texts: Sequence[str], encode: Callable[[list[int]], Tensor], size: int) -> Tensor:
    """Encodes N texts in batches of similar length.

    Args:
        texts: N texts, at least one.
        encode: the indices of n texts -> (n, ...), their rows.
        size: most texts of a batch.

    Returns:
        (N, ...) in the order given.
    """
    order = sorted(range(len(texts)), key=lambda index: len(texts[index].encode()))
    rows = torch.cat([encode(order[start : start + size]) for start in range(0, len(order), size)])
    return rows[torch.tensor(order).argsort().to(rows.device)]


def embed_texts(texts: Sequence[str], encode: Encode, *, batch_size: int = 128, alphabetical: bool = False) -> Tensor:
    """Encodes texts without gradients: each distinct one once, in batches of similar length.

    Args:
        texts: N texts.
        encode: the texts of a batch -> their embeddings.
        batch_size: most texts of a batch.
        alphabetical: batches are neighbours of the alphabet (`shares_beginnings`).

    Returns:
        (N, D) on the CPU, in the order given; equal texts get bit-identical rows.
    """
    distinct = sorted(set(texts)) if alphabetical else by_length(texts)
    quiet = len(distinct) < QUIET
    bar = contextlib.nullcontext(lambda n: None) if quiet else progress("encoding captions", len(distinct), "captions")
    with torch.no_grad(), bar as advance:

        def read(part: list[str]) -> Tensor:
            rows = encode(part).cpu()
            advance(len(part))
            return rows

        parts = [read(distinct[start : start + batch_size]) for start in range(0, len(distinct), batch_size)]
        return torch.cat(parts)[places(texts, distinct)]


def encode_bucketed(texts: Sequence[str], encode: Encode, *, size: int | None = None, whole: bool = False) -> Tensor:
    """Encodes the texts of one training step, with gradients: each distinct one once, in buckets by length.

    Args:
        texts: N texts.
        encode: the texts of a bucket -> their embeddings.
        size: most texts of a bucket; by default `bucket_size`.
        whole: all texts are one bucket, in alphabetical order (`packs`).

    Returns:
        (N, D) in the order given.
    """
    if whole:
        distinct = sorted(set(texts))
        return encode(distinct)[places(texts, distinct)]
    distinct = by_length(texts)
    size = size or bucket_size(len(distinct))
    rows = encode_rows(distinct, lambda indices: encode([distinct[index] for index in indices]), size)
    return rows[places(texts, distinct).to(rows.device)]


def places(texts: Sequence[str], distinct: Sequence[str]) -> Tensor:
    """Returns (N,) the index in `distinct` of each text."""
    place = {text: index for index, text in enumerate(distinct)}
    return torch.tensor([place[text] for text in texts])


def shares_beginnings(backbone: Backbone) -> bool:
    """Returns True if texts that begin alike are cheaper together: their common beginning is encoded once."""
    return backbone.packing == "trees" and backbone.device.type == "cpu"


def packs(backbone: Backbone) -> bool:
    """Returns True if the texts of a step are cheaper in one call than in buckets by length."""
    return backbone.packing != "none" and backbone.device.type == "cpu"


def bucket_size(count: int) -> int:
    """Returns the most texts of a bucket: 8 on a CPU (least padding), a fourth of all on an accelerator (fewest kernel launches)."""
    buckets = 4 if torch.accelerator.is_available() else max(-(-count // 8), 1)
    return max(-(-count // buckets), 1)
