"""From a folder of class sub-folders, or any source of pairs, to records that wait for a caption."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crosscue.data.pairs import Image, ImageFile
from crosscue.data.readers.folder import SPLITS, SUFFIXES
from crosscue.data.records import canonical_split
from crosscue.data.sources import LISTINGS, Reading, read_pairs
from crosscue.errors import DataError
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.conversation import Picture
from crosscue.progress import track
from crosscue.storage import atomic_file

Found = tuple[str, Image, str | None, str | None]
"""Id, picture, class, split."""


def find_pictures(source: str, out: Path, reading: Reading | None = None) -> list[Found]:
    """Returns the pictures of a source with their classes, in a fixed order.

    A folder without a listing of pairs is read as class sub-folders: the folder a picture is in is its class, with
    underscores as spaces, and a top folder called train, val or test is the split. Captions the source has are not used.

    Raises:
        DataError: no such source, or no pictures in it.
    """
    path = Path(source)
    listed = any((path / name).exists() for name in (*LISTINGS, "dataset_info.json", "dataset_dict.json"))
    if not path.is_dir() or listed:
        pairs = read_pairs(source, reading=reading)
        return [(pair.image_id, pair.image, pair.category, pair.split) for pair in pairs]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file() and out.resolve() not in file.resolve().parents
    )
    if not files:
        raise DataError(
            f"{source}: no pictures here ({', '.join(sorted(SUFFIXES))}). Put them into one folder a class."
        )
    found: list[Found] = []
    for file in files:
        inside = file.relative_to(path)
        parts = list(inside.parts[:-1])
        split = canonical_split(parts[0]) if parts and canonical_split(parts[0]) in SPLITS else None
        within = parts[1:] if split else parts
        found.append((inside.as_posix(), ImageFile(file), within[-1] if within else None, split))
    return found


def begin_records(
    found: Sequence[Found],
    out: Path,
    *,
    dataset: str,
    domain: str,
    aliases: Mapping[str, Sequence[str]],
    provenance: Mapping[str, Any],
) -> tuple[list[CaptionRecord], dict[str, Picture]]:
    """Returns a record and a picture for each id; pictures inside tables are written to `out`/pictures.

    Raises:
        DataError: a picture cannot be read, or aliases name an unknown class.
    """
    classes = {class_form(category): category for _, _, category, _ in found if category}
    spellings = {class_form(name): tuple(map(str, forms)) for name, forms in aliases.items()}
    unknown = sorted(set(spellings) - set(classes))
    if unknown:
        raise DataError(
            f"aliases are given for {unknown[0]!r}, which is no class here: {', '.join(sorted(classes)[:8])}, ..."
        )
    records, pictures = [], {}
    for identity, image, category, split in track(found, "reading pictures", len(found), "pictures"):
        try:
            content = image.read()
        except OSError as error:
            raise DataError(f"{image.name}: cannot be read ({error.strerror or error}). Check the path.") from error
        sha256 = hashlib.sha256(content).hexdigest()
        name = class_form(category) if category else None
        records.append(
            CaptionRecord(
                id=identity,
                dataset=dataset,
                split=split,
                image_path=_path_from(out, image, content, sha256),
                image_sha256=sha256,
                class_name=name,
                class_aliases=spellings.get(name or "", ()),
                meta_category=domain,
                provenance=dict(provenance),
            )
        )
        pictures[identity] = Picture(image, sha256)
    return records, pictures


def class_form(name: str) -> str:
    """Returns a class's name as captions write it: underscores are spaces."""
    return " ".join(name.replace("_", " ").split())


def read_aliases(path: Path) -> dict[str, list[str]]:
    """Reads a YAML file of ``class: [other name, ...]``.

    Raises:
        DataError: it is not of that form.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]}).") from error
    if not isinstance(content, dict) or not all(isinstance(forms, list) for forms in content.values()):
        raise DataError(f"{path}: write one line a class, e.g. `Basset Hound: [basset, basset dog]`.")
    return {str(name): [str(form) for form in forms] for name, forms in content.items()}


def _path_from(out: Path, image: Image, content: bytes, sha256: str) -> str:
    """Returns the picture's path from the output folder, so that both can be moved together."""
    if isinstance(image, ImageFile):
        return Path(os.path.relpath(image.path.resolve(), out.resolve())).as_posix()
    suffix = Path(image.name).suffix.lower()
    target = out / "pictures" / f"{sha256[:16]}{suffix if suffix in SUFFIXES else _suffix_of(content)}"
    if not target.exists():
        with atomic_file(target) as part:
            part.write_bytes(content)
    return target.relative_to(out).as_posix()


def _suffix_of(content: bytes) -> str:
    kinds = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"RIFF", ".webp"), (b"BM", ".bmp"))
    return next((suffix for start, suffix in kinds if content.startswith(start)), ".jpg")
