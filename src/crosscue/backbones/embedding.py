"""Encoding many sentences without paying for padding or for repetitions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from crosscue.progress import progress

Encode = Callable[[Sequence[str]], Tensor]
"""n sentences -> (n, D)"""

QUIET = 2_000
"""Fewer sentences than this are encoded without a progress bar."""


def by_length(texts: Sequence[str]) -> list[str]:
    """Returns the distinct sentences, shortest first; bytes stand for tokens, which is all sorting needs."""
    return sorted(dict.fromkeys(texts), key=lambda text: (len(text.encode()), text))


def embed_texts(texts: Sequence[str], encode: Encode, *, batch_size: int = 128) -> Tensor:
    """Encodes sentences without gradients: each distinct one once, in batches of similar length.

    Returns:
        (N, D) on the CPU, in the order given; equal sentences get bit-identical rows.
    """
    ordered = by_length(texts)
    row = {text: index for index, text in enumerate(ordered)}
    quiet = len(ordered) < QUIET
    bar = contextlib.nullcontext(lambda n: None) if quiet else progress("encoding captions", len(ordered), "captions")
    parts = []
    with torch.no_grad(), bar as advance:
        for start in range(0, len(ordered), batch_size):
            batch = ordered[start : start + batch_size]
            parts.append(encode(batch).cpu())
            advance(len(batch))
    return torch.cat(parts)[torch.tensor([row[text] for text in texts])]


def encode_bucketed(texts: Sequence[str], encode: Encode, *, buckets: int | None = None) -> Tensor:
    """Encodes the sentences of one training step, with gradients: each distinct one once, in `buckets` by length.

    How many there are by default: see `bucket_count`.

    Returns:
        (N, D) in the order given.
    """
    ordered = by_length(texts)
    row = {text: index for index, text in enumerate(ordered)}
    parts = slices(len(ordered), buckets or bucket_count(len(ordered)))
    embedded = torch.cat([encode(ordered[start:stop]) for start, stop in parts])
    return embedded[torch.tensor([row[text] for text in texts], device=embedded.device)]


def bucket_count(sentences: int) -> int:
    """Returns how many buckets pay: of 8 sentences each on a processor, which computes little padding; 4 where launching is dear."""
    return 4 if torch.accelerator.is_available() else max(-(-sentences // 8), 1)


class RememberedTexts:
    """`remembered(texts)` -> (B, D) features of an encoder that never changes; what it was told beforehand is not encoded again."""

    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self.known: dict[str, Tensor] = {}

    def remember(self, texts: Sequence[str]) -> None:
        """Encodes each distinct sentence once, and forgets what was known before: the features depend on the set alone."""
        distinct = by_length(texts)
        self.known = dict(zip(distinct, embed_texts(distinct, self.encode), strict=True)) if distinct else {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """B sentences -> (B, D)."""
        if any(text not in self.known for text in texts):
            return self.encode(texts)
        return torch.stack([self.known[text] for text in texts])


def slices(count: int, parts: int) -> list[tuple[int, int]]:
    """Cuts `count` items into at most `parts` slices of equal size; the last may be shorter."""
    size = max(-(-count // parts), 1)
    return [(start, min(start + size, count)) for start in range(0, count, size)]
