"""Effect of each word of a text on a score: the score with the word and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Floats

MOST_WORDS = 77
"""Words that are left out one by one: no text tower at hand reads more word pieces."""


def word_effects(text: str, score: Callable[[Sequence[str]], Floats]) -> list[tuple[str, float]]:
    """Returns each of the first `MOST_WORDS` words of a text with the amount that the score falls without it; negative where the score rises.

    Args:
        text: the text.
        score: texts -> (N,) their scores. It is called once.
    """
    whole, *others = score(texts_without(text)).tolist()
    return [(word, whole - other) for word, other in zip(text.split(), others, strict=False)]


def texts_without(text: str) -> list[str]:
    """Returns a text, and the text without each of its first `MOST_WORDS` words."""
    words = text.split()
    return [text, *(" ".join(words[:place] + words[place + 1 :]) for place in range(min(len(words), MOST_WORDS)))]
