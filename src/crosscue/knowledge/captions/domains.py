"""Domains of images: the focus of a caption, and the general nouns that stand for the classes."""

from __future__ import annotations

from dataclasses import dataclass

from crosscue.errors import CrosscueError, suggestion


@dataclass(frozen=True)
class Domain:
    """One domain of fine-grained images."""

    focus: str
    """Contents of a caption beside the main thing."""
    nouns: str
    """General nouns. One of them may stand in the place of the class name."""
    one_class: bool = True
    """True if an image shows one class of the set. Then the name of another class is always a mistake."""

    def general(self) -> tuple[str, ...]:
        """Returns the nouns one by one."""
        return tuple(self.nouns.split(", "))


DOMAINS: dict[str, Domain] = {
    "pets": Domain(
        "coat, colour, pose, accessories and setting", "dog, cat, puppy, kitten, hound, terrier, pet, animal"
    ),
    "birds": Domain("plumage, colours, beak, posture and setting", "bird, songbird, waterbird, seabird, animal"),
    "flowers": Domain(
        "colour and number of petals, stage of bloom, foliage and setting",
        "flower, blossom, bloom, wildflower, flowering plant, plant",
    ),
    "cars": Domain(
        "body colour, viewing angle, wheels and setting",
        "car, sports car, sedan, coupe, convertible, hatchback, wagon, suv, pickup truck, pickup, truck, van, minivan, "
        "automobile, vehicle",
    ),
    "aircraft": Domain(
        "airline, livery, registration, and whether it is on the runway or in the air",
        "airplane, aeroplane, plane, aircraft, jet, airliner, jetliner, passenger plane, passenger jet, fighter jet, "
        "propeller plane, helicopter",
    ),
    "food": Domain(
        "ingredients, colours and plating", "dish, meal, food, dessert, plate of food, snack", one_class=False
    ),
    "scenes": Domain(
        "layout, objects and light",
        "scene, place, room, building, landscape, indoor space, outdoor space, space, area",
        one_class=False,
    ),
    "textures": Domain("pattern, colours and scale", "texture, pattern, surface, material, fabric"),
    "actions": Domain(
        "who does what, with which object, and where", "action, activity, sport, exercise", one_class=False
    ),
    "objects": Domain("colour, shape and context", "object, item, thing, product, animal, device", one_class=False),
}
"""Name -> domain."""


def domain_of(name: str) -> Domain:
    """Returns a domain by name.

    Raises:
        CrosscueError: there is no domain of that name.
    """
    if name not in DOMAINS:
        raise CrosscueError(f"there is no domain '{name}'.{suggestion(name, DOMAINS)}")
    return DOMAINS[name]
