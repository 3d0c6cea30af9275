"""FDRD's domains from one folder: the released files, and the datasets where CoOp keeps them.

FOLDER/pets_train.json, FOLDER/pets_test.json      or in train/ and test/, as released; `inter_` may stand before the name
FOLDER/oxford_pets/split_zhou_OxfordPets.json
FOLDER/oxford_pets/images/Abyssinian_1.jpg
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crosscue.data.locations import is_file
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.readers.contract import PARTIAL, Clean, Reader, Reading, json_content, json_sniffer
from crosscue.data.readers.fdrd import DOMAINS, is_fdrd, read_fdrd
from crosscue.errors import DataError, suggestion
from crosscue.source_files import at_home
from crosscue.storage import read_json


def read(path: Path, reading: Reading) -> Pairs:
    """Reads one released file, or a folder: the domain of `reading`, or all, whose name then begins the image ids.

    Captions without their images are read, since much can be counted on them; `--missing skip` leaves them out.

    Raises:
        DataError: no such domain, or a file of it is missing or malformed.
    """
    pairs = _read(path, reading)
    if reading.missing != "skip":
        return pairs
    there = [pair for pair in pairs if isinstance(pair.image, ImageFile) and is_file(pair.image.path)]
    if len(there) < len(pairs):
        reading.note(f"{path}: left out by --missing skip: {len(pairs) - len(there):,} missing images")
    return pairs.part(there)


def _read(path: Path, reading: Reading) -> Pairs:
    split_file = at_home(reading.split_file) if reading.split_file else None
    idle = {"images": path.is_dir(), "domain": not path.is_dir()}
    for name in (name for name, without in idle.items() if without and getattr(reading, name) is not None):
        raise DataError(
            f"{path}: --{name} has no effect on a {'folder' if path.is_dir() else 'file'} of FDRD. Leave it out."
        )
    if path.is_dir():
        names = domains(path) if reading.domain is None else [reading.domain]
        if not names:
            raise DataError(
                f"{path}: no file of the FDRD release, such as pets_test.json. Put the released files there."
            )
        if len(names) == 1:
            return read_fdrd_folder(path, names[0], reading.clean, split_file)
        if split_file is not None:
            raise DataError(
                f"{path}: --split_file belongs to one domain, and the folder has {', '.join(names)}. Add --domain {names[0]}"
            )
        read = {name: read_fdrd_folder(path, name, reading.clean) for name in names}
        return Pairs(
            (replace(pair, image_id=f"{name}/{pair.image_id}") for name, pairs in read.items() for pair in pairs),
            str(path),
        )
    content = json_content(path)
    if not is_fdrd(content):
        raise DataError(
            f"{path}: not a file of the FDRD release (id -> {{file_name, positive}}). Leave --kind fdrd out."
        )
    return read_fdrd(path, content, reading.images_beside(path), split_file, reading.clean)


def read_fdrd_folder(folder: Path, name: str, clean: Clean = "none", split_file: Path | None = None) -> Pairs:
    """Reads one domain with all of its splits; class and split come from CoOp's file, or the dataset's own lists.

    Raises:
        DataError: no such domain, or a file of it is missing or malformed.
    """
    if name not in DOMAINS:
        raise DataError(f"FDRD has no domain '{name}'.{suggestion(name, DOMAINS)}")
    domain = DOMAINS[name]
    dataset = folder / domain.folder
    files = [file for split in ("train", "test") if (file := released(folder, name, split)) is not None]
    if not files:
        raise DataError(
            f"{folder}: no {name}_train.json, here or in train/, and no {name}_test.json. Put FDRD's released files there."
        )
    split_file = split_file or (dataset / domain.split_file if domain.split_file else dataset)
    if not split_file.exists():
        raise DataError(
            f"{split_file}: there is no such file or folder, and FDRD's captions take class and split from it. "
            "Put the dataset there, or name CoOp's file with --split_file."
        )
    pairs: list[Pair] = []
    for file in files:
        pairs += read_fdrd(file, read_json(file), dataset / domain.images, split_file, clean)
    return Pairs(pairs, f"FDRD {name}")


def domains(folder: Path) -> list[str]:
    """Returns the domains that a folder has a released file of."""
    return [name for name in DOMAINS if any(released(folder, name, split) is not None for split in ("train", "test"))]


def released(folder: Path, name: str, split: str) -> Path | None:
    """Returns the released file of a domain and split, if the folder contains it."""
    places = [folder / part / f"{prefix}{name}_{split}.json" for part in ("", split) for prefix in ("", "inter_")]
    return next((place for place in places if place.exists()), None)


def _sniff(path: Path) -> bool:
    return bool(domains(path)) if path.is_dir() else json_sniffer(is_fdrd)(path)


FDRD = Reader("fdrd", _sniff, read, obeys=PARTIAL)
