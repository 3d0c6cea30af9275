"""FDRD, DCAR's dataset, as released: captions and negatives for nine CoOp datasets, without the pictures.

The files' own paths are the authors' and are never trusted: a picture's path follows from its name, and its class and
split from CoOp's split file, joined on that path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from crosscue.data.pairs import ImageFile, Negative, Pair, Pairs
from crosscue.errors import DataError, suggestion

Clean = Literal["none", "spaces", "full"]
UNMATCHED = 0.005
"""Largest share of records that may have no picture in the split file."""


@dataclass(frozen=True)
class Domain:
    """One of the nine datasets."""

    folder: str
    split_file: str | None
    """CoOp's split file inside `folder`; None where the official lists are used."""
    pictures: str
    """Folder of the pictures inside `folder`."""
    path: Callable[[str, dict[str, Any]], str]
    """Key and record -> path of the picture inside the dataset's picture folder, as the split file writes it."""


def _caltech(key: str, record: dict[str, Any]) -> str:
    folder, _, number = record["file_name"].partition("_image_")
    return f"{folder}/image_{_jpg(number)}"


def _jpg(name: str) -> str:
    return name if name.lower().endswith((".jpg", ".jpeg", ".png")) else f"{name}.jpg"


DOMAINS: dict[str, Domain] = {
    "pets": Domain("oxford_pets", "split_zhou_OxfordPets.json", "images", lambda key, r: _jpg(r["file_name"])),
    "flower": Domain(
        "oxford_flowers", "split_zhou_OxfordFlowers.json", "jpg", lambda key, r: f"image_{int(r['number']):05d}.jpg"
    ),
    "plane": Domain("fgvc_aircraft", None, "", lambda key, r: f"images/{_jpg(r['file_name'])}"),
    "caltech-101": Domain("caltech-101", "split_zhou_Caltech101.json", "101_ObjectCategories", _caltech),
    "car": Domain(
        "stanford_cars",
        "split_zhou_StanfordCars.json",
        "",
        lambda key, r: re.sub(r"^(cars_train|cars_test)_", r"\1/", _jpg(r["file_name"])),
    ),
    "dtd": Domain(
        "dtd",
        "split_zhou_DescribableTextures.json",
        "images",
        lambda key, r: f"{r['class_name']}/{_jpg(r['file_name'])}",
    ),
    "food": Domain(
        "food-101", "split_zhou_Food101.json", "images", lambda key, r: f"{r['class_name']}/{_jpg(r['file_name'])}"
    ),
    "sun397": Domain("sun397", "split_zhou_SUN397.json", "SUN397", lambda key, r: _jpg(r["file_name"])),
    "ucf101": Domain(
        "ucf101",
        "split_zhou_UCF101.json",
        "UCF-101-midframes",
        lambda key, r: f"{r['class_name']}/{_jpg(r['file_name'])}",
    ),
}
"""FDRD's name of a dataset -> where CoOp keeps it."""


def domain_of(path: Path) -> str:
    """Returns the domain a released file belongs to: `pets_test.json`, `inter_caltech-101_train.json`, ...

    Raises:
        DataError: the name is none of the release's.
    """
    name = re.sub(r"^inter_|_(train|val|test)$", "", path.stem)
    if name not in DOMAINS:
        raise DataError(f"{path}: not a file name of the FDRD release.{suggestion(name, DOMAINS)}")
    return name


def read_fdrd(
    path: Path, content: dict[str, Any], images: Path, split_file: Path | None, clean: Clean = "none"
) -> Pairs:
    """Reads one released file.

    Args:
        path: the file; its name says the domain and, where no split file is given, the split.
        content: its parsed JSON, id -> {file_name, positive, negative, ...}.
        images: folder the split file's paths start from.
        split_file: CoOp's `split_zhou_*.json`, or for aircraft the folder of the official lists; gives class and split.
        clean: none as released; spaces repairs spacing; full also repairs underscores and doubled class names.

    Raises:
        DataError: a record without its fields; more than 0.5 % of the records are not in the split file.
    """
    domain = DOMAINS[domain_of(path)]
    known = read_split(split_file) if split_file is not None else None
    named_split = path.stem.rsplit("_", 1)[-1]
    pairs, unmatched = [], []
    for key, record in content.items():
        where = f"{path} record {key}"
        try:
            relative, positive = domain.path(key, record), str(record["positive"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: field {error} is missing or malformed. This is not a file of the FDRD release."
            ) from error
        category, split = record.get("class_name"), named_split
        if known is not None:
            if relative not in known:
                unmatched.append(relative)
                continue
            split, category = known[relative]
        texts = [cleaned(text, str(category or ""), clean) for text in (positive, *(record.get("negative") or ()))]
        image = ImageFile(images / relative)
        pairs.append(Pair(image, (texts[0],), relative, category, tuple(map(Negative, texts[1:])), split, where))
    if len(unmatched) > UNMATCHED * len(content):
        raise DataError(
            f"{path}: {len(unmatched)} of {len(content)} pictures are not in {split_file}, e.g. {', '.join(unmatched[:5])}. "
            "Give the split file of the same dataset."
        )
    return Pairs(pairs, str(path))


def read_split(path: Path) -> dict[str, tuple[str, str]]:
    """Reads CoOp's {train, val, test: [[path, label, class name]]} as path -> (split, class name).

    A folder is read through FGVC-Aircraft's own lists in it, images_variant_{train,val,test}.txt.

    Raises:
        DataError: the file is not of that form.
    """
    try:
        if path.is_dir():
            return {
                f"images/{_jpg(line.split(maxsplit=1)[0])}": (split, line.split(maxsplit=1)[1])
                for split in ("train", "val", "test")
                for line in (path / f"images_variant_{split}.txt").read_text(encoding="utf-8").splitlines()
            }
        content = json.loads(path.read_text(encoding="utf-8"))
        return {row[0]: (split, str(row[2])) for split, rows in content.items() for row in rows}
    except (OSError, json.JSONDecodeError, AttributeError, IndexError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a CoOp split file ({error}).") from error


def cleaned(text: str, category: str, clean: Clean) -> str:
    """Repairs a caption as far as `clean` says."""
    if clean == "none":
        return text
    text = re.sub(r"\.(?=[A-Z])", ". ", " ".join(text.split()))
    if clean == "full":
        text = text.replace("_", " ")
        name = re.escape(category.replace("_", " "))
        if name:
            text = re.sub(rf"\b({name})(\s+{name})+\b", r"\1", text, flags=re.IGNORECASE)
    return text
