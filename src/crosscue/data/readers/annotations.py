"""The JSON files of retrieval papers: Karpathy's splits, and COCO's caption annotations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosscue.data.locations import entries
from crosscue.data.pairs import Pairs
from crosscue.data.path_splits import split_in_words
from crosscue.data.readers.contract import Reader, Reading, json_content, json_sniffer
from crosscue.data.records import Row, pairs_of
from crosscue.errors import DataError

IMAGES_OF = re.compile(r"(train|val|test)\d{4}")
"""Folder of the images of a list, as a part of its name."""


def read_karpathy(path: Path, reading: Reading) -> Pairs:
    """Reads `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`; COCO's `restval` counts as train.

    Raises:
        DataError: an image record without filename, `sentences` or split.
    """
    content = json_content(path)
    if not is_karpathy(content):
        raise DataError(f"{path}: not in Karpathy's format (an object with 'images'). Leave --kind karpathy out.")

    def rows() -> Iterator[Row]:
        for number, record in enumerate(content["images"], 1):
            where = f"{path} image {number}"
            try:
                name = (Path(record.get("filepath") or "") / record["filename"]).as_posix()
                split = "train" if record["split"] == "restval" else record["split"]
                captions = record["sentences"]
                if not isinstance(captions, list):
                    raise TypeError("a list of sentences")
            except (KeyError, TypeError, AttributeError) as error:
                reading.refuse(
                    DataError(
                        f"{where}: {error} is missing. This is not a file in Karpathy's format; leave --kind karpathy out."
                    )
                )
                continue
            yield where, {"image": name, "captions": captions, "split": split}

    return pairs_of(rows(), path, reading)


def read_coco(path: Path, reading: Reading) -> Pairs:
    """Reads `captions_val2017.json` and its like, or all of them in a folder `annotations`; a file's name gives the split.

    The images may be in a folder that the file is named after, such as `val2017`.

    Raises:
        DataError: an annotation of an image that is not in the file's image list, or no caption at all.
    """
    files = coco_lists(path) if path.is_dir() else [path]

    def rows() -> Iterator[Row]:
        for file in files:
            yield from coco_rows(file, reading)

    return pairs_of(rows(), path, reading)


def coco_lists(folder: Path) -> list[Path]:
    """Returns the files of captions in the folder `annotations` of a download."""
    return [file for file in entries(folder / "annotations") if re.fullmatch(r"captions_\w+\.json", file.name)]


def images_of(path: Path, reading: Reading) -> Path:
    """Returns the folder of the images of a list: the one that it is named after, here or beside `annotations`."""
    name = IMAGES_OF.search(path.stem.lower())
    home = reading.images_beside(path)
    places = [place / name[0] for place in (home, home.absolute().parent)] if name else []
    return next((place for place in places if place.is_dir()), Path())


def coco_rows(path: Path, reading: Reading) -> Iterator[Row]:
    """Yields a row for each image of a file that has captions."""
    content = json_content(path)
    if not is_coco(content):
        raise DataError(
            f"{path}: no COCO annotations (an object with 'images' and 'annotations'). Leave --kind coco out."
        )
    files = coco_files(path, content["images"], reading)
    annotations = listed(path, content["annotations"])
    if annotations and not any(isinstance(one, dict) and "caption" in one for one in annotations):
        raise DataError(
            f"{path}: no annotation has a caption. COCO's captions are in files such as captions_val2017.json."
        )
    captions: dict[str, list[Any]] = defaultdict(list)
    for number, annotation in enumerate(annotations, 1):
        image = str(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if image in files:
            text = annotation.get("caption")
            captions[image].append(text.strip() if isinstance(text, str) else text)
        else:
            reading.refuse(
                DataError(
                    f"{path} annotation {number}: image {image} is not in the file's image list. "
                    "Correct the annotation, or remove it."
                )
            )
    if len(captions) < len(files):
        bare = len(files) - len(captions)
        reading.note(f"{path}: {bare:,} of {len(files):,} images have no caption and are left out")
    split, folder = split_in_words(path.stem), images_of(path, reading)
    for image, texts in captions.items():
        values = {"image": str(folder / files[image]), "captions": texts, "image_id": image, "split": split}
        yield f"{path} image {image}", values


def coco_files(path: Path, images: Any, reading: Reading) -> dict[str, str]:
    """Returns id -> path of the images in a list of COCO annotations.

    Raises:
        DataError: a record has no id or file name, or two have one id and different files.
    """
    files: dict[str, str] = {}
    for number, image in enumerate(listed(path, images), 1):
        where = f"{path} image {number}"
        known = isinstance(image, dict) and image.get("id") is not None and isinstance(image.get("file_name"), str)
        if not known:
            reading.refuse(DataError(f"{where}: 'id' or 'file_name' is missing. Correct the record, or remove it."))
        elif files.setdefault(str(image["id"]), image["file_name"]) != image["file_name"]:
            reading.refuse(DataError(f"{where}: id {image['id']} is already another file. Give each image its own id."))
    return files


def listed(path: Path, records: Any) -> list[Any]:
    """Returns records that are a list; raises `DataError` for anything else."""
    if not isinstance(records, list):
        raise DataError(f"{path}: 'images' and 'annotations' must be lists. Leave --kind coco out.")
    return records


def is_karpathy(content: Any) -> bool:
    """Returns True for the content of a file in Karpathy's format."""
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" not in content


def is_coco(content: Any) -> bool:
    """Returns True for the content of a file of COCO caption annotations."""
    return isinstance(content, dict) and "images" in content and "annotations" in content


KARPATHY = Reader("karpathy", json_sniffer(is_karpathy), read_karpathy)
_is_coco_file = json_sniffer(is_coco)


def _sniff_coco(path: Path) -> bool:
    return bool(coco_lists(path)) if path.is_dir() else _is_coco_file(path)


COCO = Reader("coco", _sniff_coco, read_coco)
