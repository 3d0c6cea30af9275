"""Pairs with captions and categories at random, for the writer of negatives."""

from __future__ import annotations

import random
from pathlib import Path

from crosscue.data.lexicons import LEXICONS
from crosscue.data.pairs import ImageFile, Pair, Pairs

CLASSES = [
    "rose",
    "desert-rose",
    "mexican aster",
    "mexican petunia",
    "F-16A/B",
    "F/A-18",
    "plane",
    "airplane",
    "orange_dahlia",
    "owl",
    "egyptian mau",
    "abyssinian",
    "ice cream",
    "umbrella",
    "Yak-42",
    "ball moss",
    "Apply_Eye_Makeup",
    "beach",
    "brown bear",
    "bear",
]
PATTERNS = [
    "A {colour} {name} in a {size} {place}.",
    "This is a photo of a {name}. The {name} is {pose} {where} the {colour} chair, {level} two {size} stones.",
    "{name} with {count} petals on a {material} table; a {colour} wall stands {side} the house.",
    "An airplane and a {name}: prose about {name}s {where} a wooden door.",
    "The image shows {count} people {pose} {where} it.",
    "a {name}",
    "a {name}, a {name} and a {colour} {name}",
]


def pair(caption: str, category: str | None, number: int = 0) -> Pair:
    return Pair(ImageFile(Path(f"{number}.jpg")), (caption,), str(number), category)


def random_pairs(count: int) -> Pairs:
    chance, made = random.Random(0), []
    words = {kind: [word for group in groups for word in group] for kind, groups in LEXICONS.items()}
    for number in range(count):
        category = chance.choice(CLASSES)
        caption = chance.choice(PATTERNS).format(
            name=chance.choice([category.replace("_", " "), category, category.lower(), category.replace("-", " ")]),
            colour=chance.choice(words["colour"]),
            size=chance.choice(words["size"]),
            place=chance.choice(words["background"]),
            pose=chance.choice([w for w in words["pose"] if w.endswith("ing")]),
            where=chance.choice(words["depth"]),
            level=chance.choice(words["level"]),
            count=chance.choice(["two", "three", "four"]),
            material=chance.choice(words["material"]),
            side=chance.choice(words["side"]),
        )
        made.append(pair(caption, category, number))
    return Pairs(made, "random")
