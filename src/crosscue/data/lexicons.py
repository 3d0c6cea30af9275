"""Closed lists of words that describe an image, for captions that are wrong in one respect.

A kind holds groups. The words of one group mean nearly the same; words of two groups of one kind exclude each other.
Words with a common second meaning (glass, left, light, orange) are left out, or are part of a phrase.
"""

from __future__ import annotations

_GROUPS = {
    "colour": "red, scarlet, crimson | blue, navy | green | yellow, golden | purple, violet | pink | brown | black | white | grey, gray, silver",
    "size": "small, tiny, little, miniature | large, big, huge, giant",
    "height": "tall, high | short, low",
    "count": "two, pair of | three | four | five | six | seven | eight",
    "material": "wooden | metal, metallic | plastic | stone | brick | leather | concrete | marble",
    "pose": "sitting, seated, sits | standing, stands | lying, lies | running, runs | walking, walks | sleeping, sleeps | jumping, jumps | swimming, swims",
    "position": "on the left, to the left, on the left side | on the right, to the right, on the right side",
    "depth": "in front of | behind",
    "level": "above, over | below, under, beneath",
    "side": "inside | outside",
    "place": "indoors | outdoors",
    "background": "garden | beach | forest, woods | desert | street | kitchen | field, meadow | parking lot",
    "time": "at night | during the day, in daylight",
    "texture": "smooth | rough, coarse | shiny, glossy | matte, dull",
    "pattern": "striped | spotted, dotted | checkered",
}
"""Kind -> groups, separated by |."""

LEXICONS = {kind: tuple(tuple(group.split(", ")) for group in groups.split(" | ")) for kind, groups in _GROUPS.items()}
"""Kind -> groups -> words."""


def form(word: str) -> str:
    """Returns the form of a word. Words of one form fit the same place: sits and stands, sitting and standing, phrases with phrases."""
    if word.endswith("ing"):
        return "ing"
    if word in {"sits", "stands", "lies", "runs", "walks", "sleeps", "jumps", "swims"}:
        return "s"
    return "side" if word.endswith(" side") else "of" if word.endswith(" of") and word.startswith("pair") else ""
