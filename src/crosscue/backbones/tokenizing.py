"""Texts to token ids: special tokens, the length limit, and room for prompts, the same for every family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from crosscue.backbones.protocol import TokenBatch
from crosscue.backbones.text_memory import TextMemory
from crosscue.backbones.vocabulary import words
from crosscue.errors import MethodError


class Tokenizer:
    """Wraps a `transformers` tokenizer; keeps the end token whatever the length."""

    def __init__(self, tokenizer: Any, max_length: int, *, pad_to: int | None = None) -> None:
        """Takes the checkpoint's tokenizer.

        Args:
            tokenizer: a `transformers` tokenizer.
            max_length: most positions of the text tower, special tokens and prompts included.
            pad_to: pad every batch to this length (towers trained without a padding mask); None crops to the longest.
        """
        self.tokenizer, self.max_length, self.pad_to = tokenizer, max_length, pad_to
        word = next(word for word in ("a", *words(tokenizer)) if tokenizer(word, add_special_tokens=False)["input_ids"])
        inner, outer = tokenizer(word, add_special_tokens=False)["input_ids"], tokenizer(word)["input_ids"]
        start = next(i for i in range(len(outer)) if outer[i : i + len(inner)] == inner)
        self.prefix, self.suffix = outer[:start], outer[start + len(inner) :]
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self.memory: TextMemory[list[int]] = TextMemory(self._pieces, 500_000)

    def room(self, prompt_count: int) -> int:
        """Returns the number of word pieces that fit beside `prompt_count` prompts.

        Raises:
            MethodError: no word piece fits; the message names the largest possible count.
        """
        room = self.max_length - len(self.prefix) - len(self.suffix) - prompt_count
        if room < 1:
            raise MethodError(
                f"{prompt_count} context tokens leave no room for words: this text tower has {self.max_length} positions, "
                f"so at most {prompt_count + room - 1} context tokens are possible."
            )
        return room

    def content(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the word-piece ids of every text, without special tokens."""
        return self.memory(texts)

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        pieces: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return pieces

    def __call__(self, texts: Sequence[str], prompt_count: int, device: torch.device) -> TokenBatch:
        """Tokenises a batch; words beyond the room are dropped from the end."""
        room = self.room(prompt_count)
        kept = [pieces[:room] for pieces in self.content(texts)]
        edge = len(self.prefix) + len(self.suffix)
        longest = self.pad_to - prompt_count if self.pad_to else max(map(len, kept)) + edge
        lengths = torch.tensor([len(pieces) + edge for pieces in kept])
        rows = [self.prefix + pieces + self.suffix + [self.pad] * (longest - len(pieces) - edge) for pieces in kept]
        position = torch.arange(longest)
        first, last = len(self.prefix), lengths[:, None] - len(self.suffix)
        return TokenBatch(torch.tensor(rows), lengths, (position >= first) & (position < last)).to(device)
