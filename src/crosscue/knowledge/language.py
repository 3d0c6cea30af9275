"""Whether a text looks like English."""

from __future__ import annotations

import re

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on with and is are at to by its it from near against under over behind beside between for while as "
        "has have that this there two one which",
    )
)


def english(text: str) -> bool:
    """Says whether a text is English by its letters and its function words; short texts get the benefit of the doubt."""
    letters = [letter for letter in text if letter.isalpha()]
    if letters and sum(letter.isascii() for letter in letters) < 0.9 * len(letters):
        return False
    words = re.findall(r"[a-z]+", text.lower())
    return len(words) < 6 or sum(word in FUNCTION_WORDS for word in words) >= 0.1 * len(words)
