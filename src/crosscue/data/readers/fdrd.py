"""FDRD, DCAR's dataset, as released: captions and negatives for nine CoOp datasets, without the images.

The paths in the files are the authors' and are never trusted. The path of an image follows from its name; its class and
split come from CoOp's split file, joined on that path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crosscue.data.cells import readable, scalar, texts_of
from crosscue.data.pairs import ImageFile, Negative, Pair, Pairs
from crosscue.data.readers.contract import Clean
from crosscue.errors import DataError, suggestion
from crosscue.progress import note
from crosscue.storage import read_json

UNMATCHED = 0.005
"""Largest share of records that may have no image in the split file."""


@dataclass(frozen=True)
class Domain:
    """One of the nine datasets."""

    folder: str
    split_file: str | None
    """CoOp's split file inside `folder`; None where the official lists are used."""
    images: str
    """Folder of the images inside `folder`."""
    path: Callable[[str, dict[str, Any]], str]
    """Key and record -> path of the image inside the dataset's image folder, as in the split file."""


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
"""FDRD's name of a dataset -> its place in CoOp's folders."""


def domain_of(path: Path) -> str:
    """Returns the domain a released file belongs to: `pets_test.json`, `inter_caltech-101_train.json`, ...

    Raises:
        DataError: the release has no file of this name.
    """
    name = re.sub(r"^inter_|_(train|val|test)$", "", path.stem)
    if name not in DOMAINS:
        raise DataError(f"{path}: not a file name of the FDRD release.{suggestion(name, DOMAINS)}")
    return name


def is_fdrd(content: Any) -> bool:
    """Returns True for the content of a released file: id -> {file_name, positive, ...}."""
    first = next(iter(content.values()), None) if isinstance(content, dict) else None
    return isinstance(first, dict) and "positive" in first


def read_fdrd(
    path: Path, content: dict[str, Any], images: Path, split_file: Path | None, clean: Clean = "none"
) -> Pairs:
    """Reads one released file.

    Args:
        path: the file; its name gives the domain and, without a split file, the split.
        content: its parsed JSON, id -> {file_name, positive, negative, ...}.
        images: folder the split file's paths start from.
        split_file: CoOp's `split_zhou_*.json`, or for aircraft the folder of the official lists; gives class and split.
        clean: see `Reading.clean`.

    Raises:
        DataError: a record without its fields; more than 0.5 % of the records are not in the split file.
    """
    domain = DOMAINS[domain_of(path)]
    known = read_split(split_file) if split_file is not None else None
    named_split = path.stem.rsplit("_", 1)[-1]
    pairs, unmatched = dict[str, Pair](), list[str]()
    for key, record in content.items():
        where = f"{path} record {key}"
        try:
            relative = domain.path(key, record)
            positive, negatives = record["positive"], record.get("negative") or []
            if not isinstance(positive, str) or not isinstance(negatives, list):
                raise TypeError("positive" if isinstance(negatives, list) else "negative")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{where}: field {error} is missing or malformed. This is not a file of the FDRD release."
            ) from error
        category, split = scalar(where, "class_name", record.get("class_name")), named_split
        if known is not None:
            if relative not in known:
                unmatched.append(relative)
                continue
            split, category = known[relative]
        texts = texts_of(where, [positive, *negatives])
        texts = [cleaned(text, category or "", clean) for text in texts]
        if not texts[0].strip():
            raise DataError(f"{where}: the caption is empty. Write one, or remove the record.")
        image = ImageFile(images / readable(where, "file_name", relative))
        wrong = tuple(Negative(text) for text in texts[1:] if text.strip())
        pair = Pair(image, (texts[0],), relative, category, wrong, split, where)
        known_pair = pairs.get(relative)
        if known_pair is not None:
            captions, wrong = known_pair.captions + pair.captions, known_pair.negatives + wrong
            pair = replace(known_pair, captions=captions, negatives=wrong)
        pairs[relative] = pair
    if len(unmatched) > UNMATCHED * len(content):
        raise DataError(
            f"{path}: {len(unmatched)} of {len(content)} images are not in {split_file}, e.g. {', '.join(unmatched[:5])}. "
            "Give the split file of the same dataset."
        )
    if unmatched:
        note(f"{path}: {len(unmatched):,} records are left out, such as {unmatched[0]}: they are not in {split_file}")
    return Pairs(pairs.values(), str(path))


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
        found = {}
        for split, rows in read_json(path).items():
            for name, _, category in rows:
                if not isinstance(name, str) or not isinstance(category, str):
                    raise TypeError(f"{[name, category]!r:.80} must be two texts")
                found[readable(str(path), "a path", name)] = (split, readable(str(path), "a class", category))
        return found
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a CoOp split file ({error}).") from error


def cleaned(text: str, category: str, clean: Clean) -> str:
    """Returns a caption after the repairs of `clean`."""
    if clean == "none":
        return text
    text = re.sub(r"\.(?=[A-Z])", ". ", " ".join(text.split()))
    if clean == "full":
        text = text.replace("_", " ")
        name = re.escape(category.replace("_", " "))
        if name:
            text = re.sub(rf"\b({name})(\s+{name})+\b", r"\1", text, flags=re.IGNORECASE)
    return text
