"""Captions of emoji, from their Unicode (CLDR) names and subcategories: fluent, true of the image, deterministic."""

from __future__ import annotations

import re

TONE = re.compile(r"\b((?:medium-)?(?:light|dark)|medium) skin tone\b")
HAIR = re.compile(r"\b(red hair|curly hair|white hair|bald|blond hair|beard)\b")

KINDS: dict[str, str] = {
    "face-smiling": "a smiling face",
    "face-affection": "an affectionate face",
    "face-tongue": "a face with its tongue out",
    "face-hand": "a face with a hand",
    "face-neutral-skeptical": "a neutral or sceptical face",
    "face-sleepy": "a sleepy face",
    "face-unwell": "a face that is unwell",
    "face-hat": "a face with a hat",
    "face-glasses": "a face with glasses",
    "face-concerned": "a worried or sad face",
    "face-negative": "an angry or mischievous face",
    "face-costume": "a face in costume",
    "cat-face": "the face of a cat",
    "monkey-face": "a monkey",
    "heart": "a heart",
    "emotion": "a symbol of feeling",
    "hand-fingers-open": "a hand with open fingers",
    "hand-fingers-partial": "a hand with some fingers raised",
    "hand-single-finger": "a hand that points",
    "hand-fingers-closed": "a closed hand",
    "hands": "a pair of hands",
    "hand-prop": "a hand at work",
    "body-parts": "a part of the body",
    "person": "a person",
    "person-gesture": "a person making a gesture",
    "person-role": "a person at work",
    "person-fantasy": "a figure from a fairy tale",
    "person-activity": "a person doing something",
    "person-sport": "a person doing sport",
    "person-resting": "a person at rest",
    "family": "people who belong together",
    "person-symbol": "a silhouette of people",
    "animal-mammal": "a mammal",
    "animal-bird": "a bird",
    "animal-amphibian": "an amphibian",
    "animal-reptile": "a reptile",
    "animal-marine": "a sea animal",
    "animal-bug": "a bug",
    "plant-flower": "a flower",
    "plant-other": "a plant",
    "food-fruit": "a fruit",
    "food-vegetable": "a vegetable",
    "food-prepared": "a dish",
    "food-asian": "an Asian dish",
    "food-marine": "seafood",
    "food-sweet": "something sweet to eat",
    "drink": "something to drink",
    "dishware": "tableware",
    "place-map": "a map",
    "place-geographic": "a landscape",
    "place-building": "a building",
    "place-religious": "a religious building",
    "place-other": "a place",
    "transport-ground": "something that travels on the ground",
    "transport-water": "something that travels on water",
    "transport-air": "something that flies",
    "hotel": "something from a hotel",
    "time": "a clock or timer",
    "sky & weather": "the sky or the weather",
    "event": "something for a celebration",
    "award-medal": "a prize",
    "sport": "something for sport",
    "game": "a game or toy",
    "arts & crafts": "something for arts and crafts",
    "clothing": "something to wear",
    "sound": "something that makes a sound",
    "music": "something about music",
    "musical-instrument": "a musical instrument",
    "phone": "a telephone",
    "computer": "a piece of computer equipment",
    "light & video": "something for light or film",
    "book-paper": "something to read",
    "money": "something about money",
    "mail": "something for the mail",
    "writing": "something to write with",
    "office": "something from an office",
    "lock": "a lock or key",
    "tool": "a tool",
    "science": "scientific equipment",
    "medical": "something medical",
    "household": "something from a household",
    "other-object": "an object",
    "transport-sign": "a sign at a station",
    "warning": "a warning sign",
    "arrow": "an arrow",
    "religion": "a religious symbol",
    "zodiac": "a sign of the zodiac",
    "av-symbol": "a button of a media player",
    "gender": "a gender symbol",
    "math": "a mathematical symbol",
    "punctuation": "a punctuation mark",
    "currency": "a currency symbol",
    "other-symbol": "a symbol",
    "geometric": "a geometric shape",
}
"""Unicode subcategory -> its name in words. Flags, keycaps and letters are left out: their names are codes."""


def captions(name: str, subcategory: str) -> tuple[str, ...]:
    """Returns three captions of an emoji; retrieval is evaluated on the first.

    Args:
        name: CLDR short name, e.g. ``woman running medium-dark skin tone``.
        subcategory: Unicode subcategory, a key of `KINDS`.
    """
    named, kind = phrase(name), KINDS[subcategory]
    return (f"An emoji of {named}, {kind}.", f"A drawing of {named}.", f"{kind[0].upper()}{kind[1:]}: {named}.")


def phrase(name: str) -> str:
    """Returns a noun phrase for a CLDR name: article first, skin tone and hair in their English places.

    ``man: red hair`` -> ``a man with red hair``; ``woman running medium skin tone`` -> ``a woman with medium skin tone running``.
    """
    tones = [f"{tone} skin tone" for tone in TONE.findall(name)]
    bare = " ".join(TONE.sub(" ", name.replace(":", " ").replace(",", " ")).split())
    hair = HAIR.findall(bare)
    for word in hair:
        bare = " ".join(re.sub(rf"\b{word}\b", " ", bare).split())
    described = [f"a {word}" if word == "beard" else "a bald head" if word == "bald" else word for word in hair]
    extras = described + ([" and ".join(dict.fromkeys(tones))] if tones else [])
    head, _, rest = bare.partition(" ")
    if head in ("man", "woman", "person", "boy", "girl", "child", "baby", "people", "men", "women"):
        middle = f" with {' and '.join(extras)}" if extras else ""
        joined = f"{head}{middle} {rest}".strip() if _is_doing(rest) else f"{bare}{middle}"
    else:
        joined = bare + (f" with {' and '.join(extras)}" if extras else "")
    return f"{article(joined)}{joined}"


def article(text: str) -> str:
    """Returns ``a ``, ``an `` or nothing for plurals and names that have no article."""
    head = re.split(r"[ -]", text)[0]
    last = re.split(r" (?:with|holding|in|of|on|and) ", text)[0].split()[-1]
    plural = (last.endswith("s") and not last.endswith(("ss", "us", "is", "as"))) or last in ("people", "men", "women")
    if plural or head.lower() in ("the", "two", "hundred", "people", "men", "women"):
        return ""
    return "an " if head[0].lower() in "aeiou" and not head.lower().startswith(("uni", "one", "eu")) else "a "


def _is_doing(rest: str) -> bool:
    """Returns True if the words after the person are an action (`running`, `in lotus position`), not a role (`teacher`)."""
    first = rest.split(" ")[0] if rest else ""
    return first.endswith("ing") or first in ("in", "with")
