"""Images of a folder of class sub-folders, or of any source of pairs, as records without a caption."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosscue.data.folder_tree import SUFFIXES, tree_of
from crosscue.data.locations import is_file
from crosscue.data.pairs import Image, ImageFile
from crosscue.data.path_splits import split_and_category
from crosscue.data.readers.hub import DATASETS
from crosscue.data.readers.image_folder import IMAGE_FOLDER
from crosscue.data.sources import Reading, listing_in, read_pairs
from crosscue.errors import DataError
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.conversation import HashedImage, hashed
from crosscue.progress import note, track
from crosscue.source_files import read_lists
from crosscue.storage import atomic_file

Found = tuple[str, Image, str | None, str | None]
"""Id, image, class, split."""


def find_images(source: str, out: Path, reading: Reading | None = None) -> list[Found]:
    """Returns the images of a source with their classes, in a fixed order.

    A folder without a listing of pairs is read as class sub-folders. The name of an image's folder is its class, and a
    folder called train, val or test gives the split. Captions of the source are not used.

    Raises:
        DataError: no such source, or no images in it.
    """
    path = Path(source)
    listed = path.is_dir() and (
        listing_in(path) is not None or any(reader.sniff(path) for reader in (DATASETS, IMAGE_FOLDER))
    )
    if not path.is_dir() or listed:
        pairs = read_pairs(source, reading=reading)
        return [(pair.image_id, pair.image, pair.category, pair.split) for pair in pairs]
    tree = tree_of(path)
    for line in tree.notes():
        note(line)
    files = [file for file in tree.images if is_file(file) and out.resolve() not in file.resolve().parents]
    if not files:
        raise DataError(f"{source}: no images here ({', '.join(sorted(SUFFIXES))}). Put them into one folder a class.")
    inside = [file.relative_to(path) for file in files]
    places = split_and_category([name.parts[:-1] for name in inside])
    return [
        (name.as_posix(), ImageFile(file), category, split)
        for name, file, (split, category) in zip(inside, files, places, strict=True)
    ]


def begin_records(
    found: Sequence[Found],
    out: Path,
    *,
    dataset: str,
    domain: str,
    aliases: Mapping[str, Sequence[str]],
    provenance: Mapping[str, Any],
) -> tuple[list[CaptionRecord], dict[str, HashedImage]]:
    """Returns a record and an image for each id. Images inside tables are written to `out`/images.

    Raises:
        DataError: an image cannot be read, or the aliases contain an unknown class.
    """
    classes = {class_form(category): category for _, _, category, _ in found if category}
    spellings = {class_form(name): tuple(map(str, forms)) for name, forms in aliases.items()}
    unknown = sorted(set(spellings) - set(classes))
    if unknown:
        raise DataError(
            f"aliases are given for {unknown[0]!r}, which is no class here. Choose from {', '.join(sorted(classes)[:8])}, ..."
        )
    records, images = [], {}
    for identity, image, category, split in track(found, "reading images", len(found), "images"):
        images[identity] = hashed(image)
        sha256 = images[identity].sha256
        name = class_form(category) if category else None
        records.append(
            CaptionRecord(
                id=identity,
                dataset=dataset,
                split=split,
                image_path=_path_from(out, image, sha256),
                image_sha256=sha256,
                class_name=name,
                class_aliases=spellings.get(name or "", ()),
                meta_category=domain,
                provenance=dict(provenance),
            )
        )
    return records, images


def class_form(name: str) -> str:
    """Returns the name of a class in captions: underscores become spaces."""
    return " ".join(name.replace("_", " ").split())


def read_aliases(path: Path) -> dict[str, list[str]]:
    """Reads a YAML file of ``class: [other name, ...]``.

    Raises:
        DataError: the file is not of that form.
    """
    return read_lists(path, "Basset Hound: [basset, basset dog]")


def _path_from(out: Path, image: Image, sha256: str) -> str:
    """Returns the image's path relative to the output folder, so that both can be moved together."""
    if isinstance(image, ImageFile):
        return Path(os.path.relpath(image.path.resolve(), out.resolve())).as_posix()
    content, suffix = image.read(), Path(image.name).suffix.lower()
    target = out / "images" / f"{sha256[:16]}{suffix if suffix in SUFFIXES else _suffix_of(content)}"
    if not target.exists():
        with atomic_file(target) as part:
            part.write_bytes(content)
    return target.relative_to(out).as_posix()


def _suffix_of(content: bytes) -> str:
    kinds = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"RIFF", ".webp"), (b"BM", ".bmp"))
    return next((suffix for start, suffix in kinds if content.startswith(start)), ".jpg")
