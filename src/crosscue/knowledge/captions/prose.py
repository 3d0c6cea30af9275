"""Sentences as a caption has them: where they end, and how they are spaced."""

from __future__ import annotations

import re

ABBREVIATION = re.compile(r"(?:\b(?:St|Mr|Mrs|Ms|Dr|No|vs|etc|approx|Mt|Ft|Jr|Sr|cf|var|sp|spp|e\.g|i\.e)|\b[A-Z])\.$")
BOUNDARY = re.compile(r"(?<=[.!?])[\"'”’)]?\s+(?=[\"'“‘(]?[A-Z0-9])")


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text; ``St. Bernard`` is not the end of one."""
    found: list[str] = []
    start = 0
    for boundary in BOUNDARY.finditer(text):
        if ABBREVIATION.search(text[start : boundary.start()]):
            continue
        found.append(text[start : boundary.end()].strip())
        start = boundary.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def spaced(text: str) -> str:
    """Returns the text with single spaces, one after each period, none before a comma, a capital and a final period."""
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    text = re.sub(r"(?<=[a-z0-9)\"'”])([.!?])(?=[A-Z])", r"\1 ", text)
    text = re.sub(r"(?<=[a-z)]),(?=[A-Za-z])", ", ", text).strip()
    if not text:
        return ""
    if text[-1] not in ".!?" and not text.endswith(('."', ".”", ".'")):
        text = text.rstrip(",;:- ") + "."
    return text[0].upper() + text[1:]


def normalised(text: str) -> str:
    """Returns what two captions are compared by: lower case, words and single spaces only."""
    return " ".join(re.findall(r"\w+", text.lower()))
