"""A folder as `--data` of the FDRD grids expects it: nine tiny domains, every path written out."""

from __future__ import annotations

import json
from pathlib import Path

from tests.images import COLOURS, draw

SPLITS = ("train", "train", "val", "test", "test")
LAYOUT = {
    "pets": ("oxford_pets/images/", "{c}_{n}.jpg", "oxford_pets/split_zhou_OxfordPets.json"),
    "flower": ("oxford_flowers/jpg/", "image_{n:05d}.jpg", "oxford_flowers/split_zhou_OxfordFlowers.json"),
    "plane": ("fgvc_aircraft/", "images/{c}{n}.jpg", ""),
    "caltech-101": (
        "caltech-101/101_ObjectCategories/",
        "{c}/image_{n:04d}.jpg",
        "caltech-101/split_zhou_Caltech101.json",
    ),
    "car": ("stanford_cars/", "cars_train/{n:05d}.jpg", "stanford_cars/split_zhou_StanfordCars.json"),
    "dtd": ("dtd/images/", "{c}/{c}_{n}.jpg", "dtd/split_zhou_DescribableTextures.json"),
    "food": ("food-101/images/", "{c}/{c}_{n}.jpg", "food-101/split_zhou_Food101.json"),
    "sun397": ("sun397/SUN397/", "s/{c}/sun_{n}.jpg", "sun397/split_zhou_SUN397.json"),
    "ucf101": ("ucf101/UCF-101-midframes/", "{c}/{c}_{n}.jpg", "ucf101/split_zhou_UCF101.json"),
}
"""Domain -> CoOp's image folder, path of an image in it, CoOp's split file."""
NAMES = {
    "caltech-101": "{c}_image_{n:04d}.jpg",
    "car": "cars_train_{n:05d}.jpg",
    "plane": "{c}{n}",
    "sun397": "s/{c}/sun_{n}.jpg",
}
"""Domain -> file_name of the release, where it is not `class_number.jpg`."""


def write_fdrd(folder: Path) -> Path:
    """Writes captions, splits and images of all nine domains, five images in each of four classes."""
    for offset, (domain, (images, path, split_file)) in enumerate(LAYOUT.items()):
        splits: dict[str, list] = {"train": [], "val": [], "test": []}
        released: dict[str, dict] = {"train": {}, "test": {}}
        for number in range(20):
            colour, split = list(COLOURS)[number % 4], SPLITS[number // 4]
            relative = path.format(c=colour, n=number)
            draw(folder / images / relative, COLOURS[colour], 1000 * offset + number)
            splits[split].append([relative, number % 4, colour])
            record = {
                "file_name": NAMES.get(domain, "{c}_{n}.jpg").format(c=colour, n=number),
                "file_path": "/home/of/the/authors.jpg",
                "positive": f"a {colour} thing {number}",
                "negative": [f"a pink thing {number}"] if domain == "pets" else [],
                "class_name": colour,
                "number": str(number),
            }
            released["test" if split == "test" else "train"][str(number)] = record
        for split, records in released.items():
            target = folder / split / f"{'' if domain == 'pets' else 'inter_'}{domain}_{split}.json"
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(records))
        if split_file:
            (folder / split_file).write_text(json.dumps(splits))
        else:
            for split, rows in splits.items():
                lines = [f"{Path(row[0]).stem} {row[2]}" for row in rows]
                (folder / "fgvc_aircraft" / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n")
    return folder
