"""From a source to pairs: the table of readers, and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from crosscue.configuration import configured
from crosscue.data.features import FeatureRow, open_bank
from crosscue.data.folder_tree import SUFFIXES
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.readers.annotations import COCO, KARPATHY
from crosscue.data.readers.contract import Examination, Reader, forget_json
from crosscue.data.readers.contract import Reading as Reading
from crosscue.data.readers.fdrd_folder import FDRD
from crosscue.data.readers.flickr import FLICKR
from crosscue.data.readers.folder import FOLDER
from crosscue.data.readers.hub import DATASETS
from crosscue.data.readers.image_folder import IMAGE_FOLDER
from crosscue.data.readers.tables import CSV, JSON, JSONL, PARQUET
from crosscue.errors import DataError, suggestion
from crosscue.plugins import failure, loaded, plugged
from crosscue.progress import note
from crosscue.source_files import at_home
from crosscue.source_files import reading as in_one_line

READERS = {
    reader.name: reader
    for reader in (DATASETS, CSV, JSONL, PARQUET, COCO, KARPATHY, FDRD, JSON, FLICKR, IMAGE_FOLDER, FOLDER)
}
"""Name -> reader, in the order of recognition. A new reader adds its line here."""
GROUP = "crosscue.readers"
"""Entry points of readers in other installed packages."""
LISTINGS = (
    *(
        "captions.json",
        "captions.jsonl",
        "metadata.jsonl",
        "metadata.csv",
        "metadata.parquet",
        "captions.csv",
        "captions.tsv",
    ),
    *(
        "captions.txt",
        "results.csv",
        "dataset_coco.json",
        "dataset_flickr30k.json",
        "dataset_flickr8k.json",
        "results_20130124.token",
        "Flickr8k.token.txt",
        "Flickr8k_text/Flickr8k.token.txt",
    ),
)
"""A folder that contains one of these files is read through it."""

ADDRESS = re.compile(r"[a-z][a-z0-9+]+://", re.IGNORECASE)
ARCHIVE = "this is an archive. Unpack it, and give the folder."
SHEET = "this is no text. Save the table as CSV or parquet."
OTHERS = {
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"), ARCHIVE),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".feather", ".arrow", ".pkl", ".pickle", ".h5", ".mat", ".db"), SHEET),
    **dict.fromkeys(SUFFIXES, "this is one image. Give the folder with its caption beside it, or a table of images."),
}
"""Suffix of a file that no reader reads -> the reason."""


def read_pairs(
    source: str | Path,
    split: str | None = None,
    reading: Reading | Mapping[str, Any] | None = None,
    faults: dict[str, list[str]] | None = None,
) -> Pairs:
    """Reads pairs from a folder, a CSV/TSV, JSON, JSONL or parquet file, Karpathy, COCO or FDRD JSON, or a dataset.

    Args:
        source: path, or id of a dataset on the Hub.
        split: keep only this split.
        reading: options, or a mapping of some of them; by default the reader is found.
        faults: kind -> lines, to collect the faults of rows in; by default the first is raised.

    Raises:
        DataError: no source, no such source or kind, or something in it cannot be used; the message names file and row.
    """
    if not isinstance(source, str | PathLike):
        raise DataError(f"the source of pairs is {source!r}; it must be a path, or the id of a dataset on the Hub.")
    given = configured(Reading, reading, "reading")
    options = {option.name: getattr(given, option.name) for option in fields(Reading)}
    reading = Examination(**options, collect=faults is not None, faults={} if faults is None else faults)
    if ADDRESS.match(str(source)):
        raise DataError(f"{source}: this is an address, and pairs are read from files. Download it first.")
    path = at_home(Path(source))
    try:
        with in_one_line(path):
            reader, place = _choose(path, reading.kind)
            reader.require_effect(place, reading)
            pairs = reader.read(place, replace(reading, missing="keep") if reading.features else reading)
            if reading.features is not None:
                pairs = with_features(pairs, at_home(reading.features), reading.images_beside(place))
    finally:
        forget_json()
    if reading.left_out:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in reading.left_out.items())
        reading.note(f"{path}: left out by --missing skip: {counts}")
    for line in reading.notes:
        note(line)
    if reading.unverified:
        if not any(isinstance(pair.image, FeatureRow) for pair in pairs):
            raise DataError(f"{path}: --unverified has no effect, because no image is a row of features. Leave it out.")
        pairs = pairs.part(_accepted(pair) for pair in pairs)
    pairs = Pairs(pairs, pairs.source, reading.command(str(source)), reading.notes)
    if reading.captions_per_image is not None:
        pairs = pairs.with_captions(reading.captions_per_image)
    return pairs.split(split) if split is not None else pairs


def with_features(pairs: Pairs, file: Path, images: Path) -> Pairs:
    """Returns the pairs with rows of a bank as their images.

    A bank with names gives each image the row of its name: its id, or its path below the folder `images`. Without names
    an image that is a number is the index of its row; other images have the rows in their order.

    Raises:
        DataError: the bank has no such row, or without names another number of rows than there are images.
    """
    bank = open_bank(file)
    places = [pair.where or pair.image_id for pair in pairs]
    names = [_names(pair, images) for pair in pairs]
    if bank.rows is not None:
        rows = [bank.named(where, *own) for where, own in zip(places, names, strict=True)]
    elif all(own[-1].isdecimal() for own in names):
        rows = [bank.at(where, int(own[-1])) for where, own in zip(places, names, strict=True)]
    elif len(bank) == len(pairs):
        rows = [FeatureRow(bank, index) for index in range(len(bank))]
    else:
        raise DataError(
            f"{file}: {len(bank)} rows without names, and {pairs.source} has {len(pairs)} images. "
            f'Name the rows in {file}.json: {{"names": [...]}}, or give one row an image, in their order.'
        )
    return pairs.part(replace(pair, image=row) for pair, row in zip(pairs, rows, strict=True))


def reader_names() -> list[str]:
    """Returns the names of all readers: our own, then those of plug-ins. No plug-in is imported."""
    return list(READERS | plugged(GROUP))


def _choose(path: Path, kind: str) -> tuple[Reader, Path]:
    """Returns the reader, and the file or folder that it reads: for a folder with a listing, the listing."""
    listing = listing_in(path)
    if kind != "auto":
        reader = _named(kind)
        if not path.exists() and reader is not DATASETS and not reader.sniff(path):
            raise DataError(f"{path}: there is no such file or folder. Check the path.")
        place = next((place for place in (path, listing) if place is not None and reader.sniff(place)), path)
        if place.is_dir() and reader not in (FOLDER, FDRD, DATASETS, IMAGE_FOLDER) and not reader.sniff(place):
            raise DataError(
                f"{path}: --kind {kind} does not read this folder. Name a file in it, or leave --kind {kind} out."
            )
        return reader, place
    place = path if listing is None or DATASETS.sniff(path) else listing
    for reader in _readers():
        if reader.sniff(place):
            return reader, place
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder. Check the path.")
    if path.suffix.lower() in OTHERS:
        raise DataError(f"{path}: {OTHERS[path.suffix.lower()]}")
    raise DataError(
        f"{place}: no reader recognises it. A JSON file must be a list of {{image, captions}} records, or have Karpathy's, "
        f"COCO's or FDRD's form. Name the reader with --kind: {', '.join(reader_names())}."
    )


def listing_in(folder: Path) -> Path | None:
    """Returns the file that lists the pairs of a folder, if there is one. A text beside an image is its caption."""
    found = (folder / name for name in LISTINGS if (folder / name).exists())
    return next((place for place in found if place.suffix not in (".txt", ".token") or FLICKR.sniff(place)), None)


def _named(kind: str) -> Reader:
    if kind in READERS:
        return READERS[kind]
    point = plugged(GROUP).get(kind)
    if point is None:
        raise DataError(f"--kind {kind}: there is no such reader.{suggestion(kind, ['auto', *reader_names()])}")
    reader: Reader | None = loaded(point)
    if reader is None:
        raise failure(point)
    return reader


def _readers() -> Iterator[Reader]:
    """Yields our own readers, then those of plug-ins, last the one that takes any folder."""
    yield from (reader for reader in READERS.values() if reader is not FOLDER)
    yield from (reader for point in plugged(GROUP).values() if (reader := loaded(point)) is not None)
    yield FOLDER


def _names(pair: Pair, images: Path) -> tuple[str, ...]:
    """Returns the names that a bank may have for the image of a pair, the value of its column last."""
    image = pair.image
    if isinstance(image, ImageFile) and image.path.is_relative_to(images):
        return pair.image_id, image.path.relative_to(images).as_posix()
    return (pair.image_id,)


def _accepted(pair: Pair) -> Pair:
    image = pair.image
    return replace(pair, image=replace(image, unverified=True)) if isinstance(image, FeatureRow) else pair


def as_pairs(pairs: Pairs | str | Path) -> Pairs:
    """Reads a source, unless it is read already."""
    return pairs if isinstance(pairs, Pairs) else read_pairs(pairs)
