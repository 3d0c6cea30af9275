"""Token ids of texts, from the file of a tokenizer: special tokens, the length limit and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from crosscue.errors import RunError

Ids = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class Tokens:
    """Token ids of N texts."""

    ids: Ids
    """(N, L) padded on the right."""
    truncated: np.ndarray[Any, np.dtype[np.int64]]
    """(N,) number of word pieces at the end of each text that were dropped."""


class TextTokenizer:
    """Tokenizer that keeps the end token whatever the length of a text."""

    def __init__(self, file: Path, length: int, pad: int) -> None:
        """Reads the file.

        Args:
            file: `tokenizer.json`.
            length: most positions of a text, special tokens included.
            pad: id of the padding.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            self.tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise RunError(f"{file}: not a tokenizer ({error}). Export the run again.") from error
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        inner, outer = self.tokenizer.encode("a", add_special_tokens=False).ids, self.tokenizer.encode("a").ids
        start = next(place for place in range(len(outer)) if outer[place : place + len(inner)] == inner)
        self.prefix, self.suffix = outer[:start], outer[start + len(inner) :]
        self.room, self.pad = length - len(self.prefix) - len(self.suffix), pad

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenises at least one text; word pieces beyond the room are dropped from the end."""
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        pieces = [each.ids for each in encoded]
        rows = [[*self.prefix, *own[: self.room], *self.suffix] for own in pieces]
        ids = np.full((len(rows), max(map(len, rows))), self.pad, np.int32)
        for row, own in zip(ids, rows, strict=True):
            row[: len(own)] = own
        return Tokens(ids, np.array([max(len(own) - self.room, 0) for own in pieces]))
