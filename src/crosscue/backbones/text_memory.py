"""Memory of the values of texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from crosscue.backbones.embedding import by_length

Value = TypeVar("Value")


class TextMemory(Generic[Value]):
    """Values by text, each computed once.

    Texts that are encoded together round together, so a value depends on its batch in the last bit. `fill` makes it
    depend on the set of texts alone, as a resumed run needs; a call computes what is missing, as inference does.
    """

    def __init__(self, compute: Callable[[Sequence[str]], Iterable[Value]], most: float = math.inf) -> None:
        """Remembers nothing yet.

        Args:
            compute: distinct texts -> their values, in the same order.
            most: a larger set is not kept by `fill`, and a larger memory is emptied before a call adds to it.
        """
        self.compute, self.most = compute, most
        self.known: dict[str, Value] = {}

    def fill(self, texts: Sequence[str]) -> None:
        """Computes the values of the distinct texts, shortest first, and forgets all others."""
        self.known.clear()
        distinct = by_length(texts)
        if 0 < len(distinct) <= self.most:
            self.known.update(zip(distinct, self.compute(distinct), strict=True))

    def recall(self, texts: Sequence[str]) -> list[Value] | None:
        """Returns the values of B texts; None where one of them is missing."""
        return None if any(text not in self.known for text in texts) else [self.known[text] for text in texts]

    def forget(self) -> None:
        """Drops all values."""
        self.known.clear()

    def __call__(self, texts: Sequence[str]) -> list[Value]:
        """Returns the values of B texts; those that are missing are computed together."""
        distinct = list(dict.fromkeys(texts))
        missing = [text for text in distinct if text not in self.known]
        if missing and len(self.known) > self.most:
            self.known.clear()
            missing = distinct
        if missing:
            self.known.update(zip(missing, self.compute(missing), strict=True))
        return [self.known[text] for text in texts]
