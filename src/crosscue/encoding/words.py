"""Effect of each word of a text on a score: the score with the word and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Floats


def word_effects(text: str, score: Callable[[Sequence[str]], Floats]) -> list[tuple[str, float]]:
    """Returns each word of a text with the amount that the score falls without it; negative where the score rises.

    Args:
        text: the text.
        score: texts -> (N,) their scores. It is called once.
    """
    words = text.split()
    without = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
    whole, *others = score([text, *without]).tolist()
    return [(word, whole - other) for word, other in zip(words, others, strict=True)]
