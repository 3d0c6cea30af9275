"""From the rows of any table to pairs: rows of one image are one pair, whatever the table calls the image."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crosscue.data.cells import image_of, negatives_of, readable, scalar, texts_of
from crosscue.data.columns import named, optional, required
from crosscue.data.features import FeatureRow
from crosscue.data.locations import Locations, mode
from crosscue.data.pairs import EmbeddedImage, Image, ImageFile, Pair, Pairs
from crosscue.data.path_splits import Folders, canonical_split, folder_split, split_depth
from crosscue.data.readers.contract import Missing, Reading
from crosscue.errors import DataError

ABSENT = ("nan", "NaN", "None", "NULL", "null", "<NA>", "N/A", "n/a", "#N/A")
"""Captions that programs write for a missing one."""
Row = tuple[str, Mapping[str, Any]]
"""File and line, and the values."""


@dataclass(frozen=True)
class Found:
    """The pair of one row."""

    pair: Pair
    """Its id is the image as the row names it."""
    image: str
    """Identity of the image: equal for the rows of one image, different for two."""
    number: str | None
    """Value of the column of ids."""


def pairs_of(rows: Iterable[Row], path: Path, reading: Reading) -> Pairs:
    """Returns the pairs of rows; rows of one image become one pair with several captions.

    The identity of an image is its file or its bytes. A column of ids only names it: where one id stands for several
    images, or several ids for one image, the paths are the ids.

    Args:
        rows: the table.
        path: the file or folder that it is read from; relative paths of images start there.
        reading: another start of the paths, and the treatment of rows without an image file or a caption.

    Raises:
        DataError: a missing column, an empty caption, a missing image; the message names file and row.
    """
    folder = Locations(reading.images_beside(path))
    groups: dict[str, list[Found]] = {}
    refused = False
    for where, row in rows:
        try:
            found = row_of(where, row, folder, reading)
            usable(found.pair, str(path), folder, reading.missing)
            group = groups.setdefault(found.image, [found])
            if group[0] is not found:
                require_agreement(group[0].pair, found.pair)
                group.append(found)
        except DataError as error:
            reading.refuse(error)
            refused = True
    if not groups:
        fault = "no row has both an image file and a caption" if refused else "no pairs found"
        reading.refuse(DataError(f"{path}: {fault}. A row needs an image and a caption."))
    pairs = identified([merged(group) for group in groups.values()], path, reading)
    return Pairs(with_splits(pairs, folder.folder, path, reading), str(path))


def with_splits(pairs: list[Pair], folder: Path, path: Path, reading: Reading) -> list[Pair]:
    """Returns the pairs, with splits from the folders of their images where no row has one.

    At least two splits must be there: a table of images in one folder `train` may be of any split.
    """
    if not any(pair.split for pair in pairs):
        folders = [folders_of(pair, folder) for pair in pairs]
        depth = split_depth(folders, least=2)
        if depth is not None:
            splits = [folder_split(names[depth]) if depth < len(names) else None for names in folders]
            pairs = [replace(pair, split=split) for pair, split in zip(pairs, splits, strict=True)]
    without = [pair for pair in pairs if pair.split is None]
    if 0 < len(without) < len(pairs):
        reading.note(
            f"{path}: {len(without):,} of {len(pairs):,} images have no split, such as {without[0].image.name}. "
            "Neither training nor evaluation uses them"
        )
    return pairs


def folders_of(pair: Pair, folder: Path) -> Folders:
    """Returns the names of the folders of an image, below `folder` where it is inside."""
    if not isinstance(pair.image, ImageFile):
        return ()
    path = pair.image.path
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).parts[:-1]


def identified(found: list[Found], path: Path, reading: Reading) -> list[Pair]:
    """Returns the pairs with their ids: those of the table if each names one image, else the images as rows name them."""
    known: dict[str, Pair] = {}
    for one in found:
        pair = one.pair
        other = known.setdefault(one.number or pair.image_id, pair)
        if other is pair and one.number != "":
            continue
        if one.number is not None:
            both = (
                f"{pair.image_id} ({pair.where}) has several"
                if other is pair
                else f"{other.where} and {pair.where} share one"
            )
            reading.note(f"{path}: the ids do not number images ({both}), so paths are the ids")
        return [distinct(one.pair) for one in found]
    return [replace(one.pair, image_id=one.number or one.pair.image_id) for one in found]


def distinct(pair: Pair) -> Pair:
    """Returns a pair whose id no other pair has: the file name inside a table is no id."""
    return replace(pair, image_id=pair.where) if isinstance(pair.image, EmbeddedImage) else pair


def merged(group: list[Found]) -> Found:
    """Returns the one pair of the rows of an image; its number is empty if the rows have several."""
    if len(group) == 1:
        return group[0]
    members = [found.pair for found in group]
    numbers = {found.number for found in group}
    pair = replace(
        members[0],
        captions=tuple(text for member in members for text in member.captions),
        negatives=tuple(dict.fromkeys(text for member in members for text in member.negatives)),
        synthetic=next((member.synthetic for member in members if member.synthetic), None),
    )
    return Found(pair, group[0].image, numbers.pop() if len(numbers) == 1 else "")


def require_agreement(known: Pair, pair: Pair) -> None:
    """Raises `DataError` where two rows of one image have different splits or categories."""
    if known.split != pair.split or known.category != pair.category:
        raise DataError(
            f"{pair.where}: image '{pair.image_id}' is here in split {pair.split} and category {pair.category}, "
            f"and in {known.where} in split {known.split} and category {known.category}. Make the rows agree."
        )


def usable(pair: Pair, source: str, folder: Locations, missing: Missing) -> None:
    """Raises `DataError` for a pair whose image file does not exist, unless `missing` is keep."""
    if missing == "keep" or not isinstance(pair.image, ImageFile) or folder.is_file(pair.image.path):
        return
    path = pair.image.path
    if pair.image_id.startswith(("http://", "https://")):
        fault = f"{pair.image_id[:200]} is an address, and images are read from files. Download the images first"
    elif mode(path) is not None:
        fault = f"{path} is no file. Correct the path"
    else:
        fault = f"there is no image {str(path)[:300]}. Correct the path"
    raise DataError(
        f"{pair.where}: {fault}, give the folder with --images, or leave such rows out: "
        f"crosscue data check {shlex.quote(source)} --missing skip",
        kind="missing images",
    )


def row_of(where: str, given: Mapping[str, Any], folder: Locations, reading: Reading) -> Found:
    """Returns the pair of one row.

    Raises:
        DataError: no image or caption column, or an empty caption.
    """
    row = named(given)
    value = required(where, row, "image", given)
    image = image_of(where, value, folder)
    captions = captions_of(where, required(where, row, "captions", given), reading)
    negatives, synthetic = optional(row, "negatives"), optional(row, "synthetic")
    split = scalar(where, "split", optional(row, "split"))
    pair = Pair(
        image=image,
        captions=tuple(captions),
        image_id=readable(where, "image", str(value)) if isinstance(value, str | int) else image.name,
        category=scalar(where, "category", optional(row, "category")),
        negatives=() if negatives is None else negatives_of(where, negatives),
        synthetic=None
        if synthetic is None
        else next((text for text in texts_of(where, synthetic, "synthetic caption") if text.strip()), None),
        split=None if split is None else canonical_split(split),
        where=where,
    )
    return Found(pair, identity(image, where, folder), scalar(where, "id", optional(row, "image_id")))


def captions_of(where: str, value: Any, reading: Reading) -> list[str]:
    """Returns the captions of a row; `missing` of `reading` may leave out empty ones.

    Raises:
        DataError: a caption is empty, or there is none.
    """
    texts = ["" if text.strip() in ABSENT else text for text in texts_of(where, value)]
    captions = [text for text in texts if text.strip()]
    if len(captions) == len(texts) > 0:
        return captions
    number = next((number for number, text in enumerate(texts, 1) if not text.strip()), 0)
    fault = (
        f"caption {number} is empty" if len(texts) > 1 else "the caption is empty" if texts else "there is no caption"
    )
    error = DataError(f"{where}: {fault}. Write one, or remove the row.", kind="empty captions")
    if not captions:
        raise error
    reading.refuse(error)
    return captions


def identity(image: Image, where: str, folder: Locations) -> str:
    """Returns a text that is equal for the rows of one image and different for two images."""
    if isinstance(image, ImageFile):
        return f"file {folder.identity(image.path)}"
    if isinstance(image, FeatureRow):
        return f"row {image.row} of {folder.identity(image.bank.path)}"
    return f"bytes {image.identity}" if image.identity else f"place {where}"
