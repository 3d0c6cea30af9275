"""FDRD's domains from one folder: the released files, and the datasets where CoOp keeps them.

FOLDER/pets_train.json, FOLDER/pets_test.json      or in train/ and test/, as released; `inter_` may stand before the name
FOLDER/oxford_pets/split_zhou_OxfordPets.json
FOLDER/oxford_pets/images/Abyssinian_1.jpg
"""

from __future__ import annotations

from pathlib import Path

from crosscue.data.pairs import Pair, Pairs
from crosscue.data.readers.fdrd import DOMAINS, Clean, read_fdrd
from crosscue.errors import DataError, suggestion
from crosscue.storage import read_json


def read_fdrd_folder(folder: Path, name: str, clean: Clean = "none") -> Pairs:
    """Reads one domain with all of its splits; class and split come from CoOp's file, or the dataset's own lists.

    Raises:
        DataError: no such domain, or a file of it is missing or malformed.
    """
    if name not in DOMAINS:
        raise DataError(f"FDRD has no domain '{name}'.{suggestion(name, DOMAINS)}")
    domain = DOMAINS[name]
    dataset = folder / domain.folder
    pairs: list[Pair] = []
    for split in ("train", "test"):
        path = _released(folder, name, split)
        content = read_json(path)
        split_file = dataset / domain.split_file if domain.split_file else dataset
        pairs += read_fdrd(path, content, dataset / domain.pictures, split_file, clean)
    return Pairs(pairs, f"FDRD {name}")


def _released(folder: Path, name: str, split: str) -> Path:
    places = [folder / part / f"{prefix}{name}_{split}.json" for part in ("", split) for prefix in ("", "inter_")]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise DataError(f"{folder}: no {name}_{split}.json, here or in {split}/. Put FDRD's released files there.")
    return found
