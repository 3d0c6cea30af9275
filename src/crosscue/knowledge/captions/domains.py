"""What to look at in a domain, and the general nouns that stand for its classes."""

from __future__ import annotations

from dataclasses import dataclass

from crosscue.errors import CrosscueError, suggestion


@dataclass(frozen=True)
class Domain:
    """One kind of fine-grained pictures."""

    focus: str
    """What a caption should say, beside what the main thing is."""
    nouns: str
    """General nouns, any of which may stand where the name of the class should."""
    one_class: bool = True
    """A picture shows one class of the set, so that the name of another one is a mistake wherever it stands."""

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
"""Name of a domain -> how its captions are written."""


def domain_of(name: str) -> Domain:
    """Returns a domain by name.

    Raises:
        CrosscueError: there is none of that name.
    """
    if name not in DOMAINS:
        raise CrosscueError(f"there is no domain '{name}'.{suggestion(name, DOMAINS)}")
    return DOMAINS[name]
